"""Accounts as customers of Stripe's: made or found, and linked.

Either side may come first. A customer belongs to an account if its metadata says so, or
if the operator does: never by e-mail, which two people can share and anybody can change.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import structlog
from msgspec import Struct

from ledger import _sql
from ledger.db import Connection
from ledger.errors import (
    CustomerTaken,
    LinkedOtherwise,
    StripeNotPermitted,
    StripeRefused,
    StripeUnavailable,
    UnknownAccount,
)
from ledger.stripe.api import Json, StripeApi, read

_SQL = _sql.load("customers.sql")

log = structlog.get_logger()

ACCOUNT: Final = "tollgate_account"  # in a customer's metadata: whose it is
MOST_DELETED: Final = 20  # customers of one account that were made and deleted within a day


class _Customer(Struct, frozen=True):
    id: str
    metadata: dict[str, str] | None = None
    deleted: bool = False

    @property
    def account(self) -> str | None:
        """Whose it says it is."""
        return (self.metadata or {}).get(ACCOUNT)


class CustomerJob(Struct, frozen=True, kw_only=True):
    """An account that is to become a customer."""

    account_id: UUID
    name: str
    customer: str | None  # linked meanwhile, by its metadata or by hand
    attempts: int  # this one included


class WaitingJob(Struct, frozen=True, kw_only=True):
    """One that waits, and for what."""

    account_id: UUID
    due_at: datetime
    attempts: int
    error: str | None


async def take_jobs(
    connection: Connection, limit: int, *, lease: timedelta
) -> Sequence[CustomerJob]:
    """Take jobs that are due; those not ended within the lease are due again."""
    rows = await connection.fetch(_SQL["take_jobs"], limit, lease)
    return [CustomerJob(**row) for row in rows]


async def put_off_job(
    connection: Connection, account_id: UUID, *, delay: timedelta, error: str
) -> None:
    """Try it again later, and keep the reason."""
    await connection.execute(_SQL["put_off_job"], account_id, delay, error)


async def end_job(connection: Connection, account_id: UUID) -> None:
    """Drop a job that is done."""
    await connection.execute(_SQL["end_job"], account_id)


async def list_jobs(connection: Connection) -> Sequence[WaitingJob]:
    """The accounts without a customer, the next one first."""
    return [WaitingJob(**row) for row in await connection.fetch(_SQL["list_jobs"])]


async def find_customer_of(connection: Connection, account_id: UUID) -> str | None:
    """A customer that the ledger has and that says it is this account's."""
    found: str | None = await connection.fetchval(_SQL["find_customer_of"], str(account_id))
    return found


async def link_customer(
    connection: Connection, account_id: UUID, customer: str, *, instead: bool = False
) -> bool:
    """Say whose customer an account is; its plan is to follow: see `take_customer`.

    Args:
        connection: In a transaction of the caller's.
        account_id: Whose.
        customer: Stripe's id.
        instead: Of another one that it is linked to.

    Returns:
        Whether it was not so before.

    Raises:
        UnknownAccount: there is no such account.
        LinkedOtherwise: it is another customer, and that was not to change.
        CustomerTaken: another account is this customer.
    """
    row = await connection.fetchrow(_SQL["linked_customer"], account_id)
    if row is None:
        raise UnknownAccount(account_id)
    before: str | None = row["stripe_customer"]
    if before != customer:
        if before is not None and not instead:
            raise LinkedOtherwise(account_id, before)
        other = await connection.fetchval(_SQL["linked_account"], customer)
        if other is not None:
            raise CustomerTaken(customer, other)
        await connection.execute(_SQL["link"], account_id, customer)
    await end_job(connection, account_id)
    return before != customer


async def make_customer(stripe: StripeApi, account_id: UUID, name: str) -> Json:
    """Stripe's customer of an account: one that says it is, else a new one.

    However often this is done, there is one: for a day by the idempotency key, and after
    that by the search, which lags by a minute and is not to be had in every country. Who was
    made under a key and is deleted since is followed by another, under a key of their own.

    Raises:
        StripeUnavailable, StripeKeyRefused, StripeRefused: as `StripeApi.post`.
        UnreadableObject: Stripe answered with something else.
    """
    query = f"metadata['{ACCOUNT}']:'{account_id}'"
    try:
        found, _ = await stripe.page("/v1/customers/search", query=query, limit=1)
    except (StripeRefused, StripeNotPermitted) as error:
        log.debug("stripe_not_searched", error=str(error))
        found = []
    for one in found:
        known = read(one, _Customer)
        if known.account == str(account_id) and not known.deleted:
            return one
    key = f"tollgate-customer-{account_id}"
    for _ in range(MOST_DELETED):
        made = await stripe.post(
            "/v1/customers", idempotency_key=key, name=name, metadata={ACCOUNT: str(account_id)}
        )
        customer = read(made, _Customer)
        if not customer.deleted:
            return made
        key = f"tollgate-customer-{account_id}-{customer.id}"
    raise StripeUnavailable("every customer that Stripe makes is deleted at once")


async def claim_customer(stripe: StripeApi, account_id: UUID, customer_id: str) -> Json:
    """Have a customer that is there already say whose it is.

    Raises:
        CustomerTaken: it says that it is another account's.
        StripeUnavailable, StripeKeyRefused, StripeRefused: as `StripeApi.post`.
        UnreadableObject: Stripe answered with something else.
    """
    path = f"/v1/customers/{customer_id}"
    customer = read(await stripe.get(path), _Customer)
    if customer.deleted:
        raise StripeRefused(
            f"customer {customer_id} is deleted", status=404, code="resource_missing", param=None
        )
    if customer.account not in (None, str(account_id)):
        raise CustomerTaken(customer_id, customer.account)
    return await stripe.post(
        path,
        idempotency_key=f"tollgate-link-{account_id}-{customer_id}",
        metadata={ACCOUNT: str(account_id)},
    )

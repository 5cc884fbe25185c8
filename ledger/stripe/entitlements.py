"""Plans follow subscriptions: derived from the ledger's copy, announced, and recorded."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import asyncpg
import structlog
from msgspec import Struct

from events.plans import Plans
from ledger import _sql
from ledger.accounts import announce_accounts
from ledger.db import Connection
from ledger.errors import UnreadableObject
from ledger.plan_changes import record_changes
from ledger.stripe.standing import (
    FOR_EVER,
    Held,
    Subscription,
    had_by,
    had_still,
    held_by,
    read_subscription,
    read_summary,
)

_SQL = _sql.load("entitlements.sql")
log = structlog.get_logger()

ASKED: Final = "asked of Stripe"  # why, where no event said it


class _Given(Struct, frozen=True):
    """What an account has by its customer from now on."""

    account_id: UUID
    customer: str
    plan: str | None
    until: datetime | None
    why: str
    is_news: bool  # another plan than before


async def follow(
    connection: Connection,
    customers: Collection[str],
    plans: Plans,
    *,
    why: str | None = None,
    now: datetime | None = None,
) -> frozenset[UUID]:
    """Derive the plans of these customers' accounts, announce and record what changes.

    In the transaction that changed objects of theirs, after the last of the changes: from
    here on the customers are locked. One whose metadata name an account is linked to it, and
    an account whose customer is deleted is a customer no more.

    Args:
        connection: In a transaction.
        customers: Ids of Stripe's; those without an account are passed over.
        plans: In the order of their file: the one furthest down counts.
        why: What is recorded; without it, the event that spoke last.
        now: In UTC.

    Returns:
        The accounts whose plan changed.
    """
    if not customers:
        return frozenset()
    await connection.execute(_SQL["lock_customers"], customers)
    await _link(connection, customers)
    accounts = await connection.fetch(_SQL["subscribers"], customers)
    if not accounts:
        return frozenset()
    now = now or datetime.now(UTC)
    holdings = defaultdict(list)
    linked = [account["stripe_customer"] for account in accounts]
    for row in await connection.fetch(_SQL["holdings"], linked):
        holdings[row["customer"]].append(row)
    derived, unreadable = [], []
    for account in accounts:
        theirs = holdings[account["stripe_customer"]]
        try:
            held = await _held(connection, theirs, account["stripe_plan"], plans, now)
        except UnreadableObject as error:  # better an old plan than none
            log.error("plan_not_followed", account=str(account["id"]), error=str(error))
            unreadable.append(account["id"])
            continue
        derived.append(_given(account, held, why or _last_word(theirs, account["gone_by"])))
    if unreadable:  # or those that are due behind them would wait for them for ever
        await connection.execute(_SQL["put_off"], unreadable, now)
    changed = await _give(connection, [given for given in derived if given is not None])
    gone = [account["stripe_customer"] for account in accounts if account["is_gone"]]
    for unlinked in await connection.fetch(_SQL["unlink"], gone) if gone else ():
        account_id, customer = str(unlinked["account_id"]), unlinked["customer"]
        log.warning("customer_unlinked", account=account_id, customer=customer)
    return changed


async def list_due(connection: Connection, now: datetime, limit: int) -> Sequence[str]:
    """Customers whose plan may have ended by itself, the longest due first."""
    rows = await connection.fetch(_SQL["due"], now, limit)
    return [row["stripe_customer"] for row in rows]


async def list_linked(connection: Connection, after: str, limit: int) -> Sequence[str]:
    """Customers that accounts are linked to, by their ids, from after one of them on."""
    rows = await connection.fetch(_SQL["linked_customers"], after, limit)
    return [row["stripe_customer"] for row in rows]


async def _link(connection: Connection, customers: Collection[str]) -> None:
    """Link accounts to the customers that name them; never over another link."""
    for claim in await connection.fetch(_SQL["claims"], customers):
        account_id = claim["account_id"]
        try:
            linked = await connection.fetchval(_SQL["link"], UUID(account_id), claim["customer"])
        except ValueError:
            linked = None
        if linked is None:  # no such account, or it is another customer's
            log.warning("customer_not_linked", customer=claim["customer"], account=account_id)


async def _held(
    connection: Connection,
    rows: Sequence[asyncpg.Record],
    present: str | None,
    plans: Plans,
    now: datetime,
) -> Held | None:
    """The plan that counts, of all that subscriptions and features give.

    While a summary leaves features out, the present plan may be by one of them: it is not
    taken away before Stripe was asked.
    """
    held: list[Held] = []
    subscriptions = []
    for row in rows:
        if row["type"] == "subscription":
            subscriptions.append(read_subscription(row["object"]))
        else:
            features = read_summary(row["object"])
            held += had_by(features.lookup_keys, plans)
            if not features.are_all:
                held += had_still(present, plans)
    since = await _past_due_since(connection, subscriptions)
    for one in subscriptions:
        held += held_by(one, plans, past_due_since=since.get(one.id), now=now)
    return max(held, default=None)


async def _past_due_since(
    connection: Connection, subscriptions: Sequence[Subscription]
) -> Mapping[str, datetime]:
    late = [one.id for one in subscriptions if one.status == "past_due"]
    if not late:
        return {}
    return {
        row["id"]: row["created"] for row in await connection.fetch(_SQL["past_due_since"], late)
    }


def _given(account: asyncpg.Record, held: Held | None, why: str) -> _Given | None:
    """What to write; none where nothing changes."""
    plan = held.plan if held else None
    until = held.until if held and held.until != FOR_EVER else None
    if (plan, until) == (account["stripe_plan"], account["stripe_plan_until"]):
        return None
    is_news = plan != account["stripe_plan"]
    return _Given(account["id"], account["stripe_customer"], plan, until, why, is_news)


def _last_word(holdings: Sequence[asyncpg.Record], gone_by: str | None) -> str:
    """The event that set what was set last, or that ended everything."""
    last = max(holdings, key=lambda row: row["updated_at"], default=None)
    return gone_by or (last and last["event_id"]) or ASKED


async def _give(connection: Connection, given: Sequence[_Given]) -> frozenset[UUID]:
    if not given:
        return frozenset()
    rows = await connection.fetch(_SQL["lock_accounts"], [one.account_id for one in given])
    customers = {row["id"]: row["stripe_customer"] for row in rows}
    given = [one for one in given if customers[one.account_id] == one.customer]
    ids = [one.account_id for one in given]
    await connection.execute(
        _SQL["give_plans"], ids, [one.plan for one in given], [one.until for one in given]
    )
    news = {one.account_id: one.why for one in given if one.is_news}
    if news:
        await announce_accounts(connection, list(news))
        await record_changes(connection, news)
        for one in given:
            log.info("plan_followed", account=str(one.account_id), plan=one.plan, why=one.why)
    return frozenset(news)

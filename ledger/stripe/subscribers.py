"""Accounts as subscribers: what the ledger has of them, and how often Stripe was asked."""

from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec
from msgspec import Struct

from ledger import _sql
from ledger.db import Connection
from ledger.errors import UnknownAccount
from ledger.stripe.api import Json

_SQL = _sql.load("subscribers.sql")

#: Statuses of a subscription that is over, or never began: another one may follow it.
OVER: Final = frozenset({"canceled", "incomplete", "incomplete_expired"})


class Subscriber(Struct, frozen=True, kw_only=True):
    """An account, as far as its money goes."""

    account_id: UUID
    name: str
    customer: str | None
    attempts: int  # changes that Stripe has made or refused
    ended: int  # subscriptions that are over: after one of them, the same wish is another one
    asked_at: datetime  # by the ledger's clock: what Stripe is asked after this is newer
    subscription: Json | None  # the one that counts: live before ended, then the newest

    @property
    def subscribed(self) -> bool:
        """Whether the subscription is one that goes on until somebody ends it."""
        return self.subscription is not None and self.subscription.get("status") not in OVER


async def find_subscriber(connection: Connection, account_id: UUID) -> Subscriber:
    """Read it.

    Raises:
        UnknownAccount: there is no such account.
    """
    row = await connection.fetchrow(_SQL["find_subscriber"], account_id)
    if row is None:
        raise UnknownAccount(account_id)
    kept: str | None = row["subscription"]
    subscription = None if kept is None else msgspec.json.decode(kept)
    return Subscriber(**{**row, "subscription": subscription})


async def count_attempt(connection: Connection, subscriber: Subscriber) -> None:
    """Note that Stripe has made or refused a change: the next one is another one."""
    await connection.execute(_SQL["count_attempt"], subscriber.account_id, subscriber.attempts)

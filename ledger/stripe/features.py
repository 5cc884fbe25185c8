"""Which features customers have, by Stripe's summaries, and by Stripe itself beyond ten."""

from collections.abc import Sequence

import msgspec
from msgspec import Struct

from ledger import _sql
from ledger.db import Connection
from ledger.stripe.api import Json

_SQL = _sql.load("entitlements.sql")


class Unsettled(Struct, frozen=True):
    """A customer of whom not all features are known, or not which of two lists is newer."""

    customer: str
    event_id: str | None  # which spoke last


async def fold_features(connection: Connection, event_ids: Sequence[str]) -> frozenset[str]:
    """Bring features up to date with summaries that the journal has; other events are none.

    Any order and any repeats give the same: newer wins. Two within a second, and one that
    does not hold them all, are to be asked for.

    Returns:
        The customers whose features may have changed.
    """
    rows = await connection.fetch(_SQL["fold_entitlements"], event_ids) if event_ids else []
    return frozenset(row["customer"] for row in rows)


async def list_unsettled(connection: Connection, limit: int) -> Sequence[Unsettled]:
    """Whose features are to be asked for, the longest waiting first."""
    return [Unsettled(**row) for row in await connection.fetch(_SQL["unsettled"], limit)]


async def store_features(
    connection: Connection, customer: str, entitlements: Sequence[Json], *, asked_after: str | None
) -> bool:
    """Store all of a customer's active entitlements, as Stripe listed them.

    Args:
        connection: Where.
        customer: Whose.
        entitlements: Objects of Stripe's.
        asked_after: The event that had spoken last when Stripe was asked.

    Returns:
        Whether they were stored; else another event came meanwhile, and may be newer.
    """
    text = msgspec.json.encode(entitlements).decode()
    row = await connection.fetchrow(_SQL["store_entitlements"], customer, text, asked_after)
    return row is not None

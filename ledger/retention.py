"""The end of what is kept for a while: raw events, and what Stripe's meters were told.

Where TimescaleDB is of the Community edition, its policies see to the raw events.
"""

from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from ledger import _sql
from ledger.ages import Retention
from ledger.db import Connection, only_one
from ledger.editions import Edition
from ledger.stripe.meters import KEPT as METER_EVENTS_KEPT

BATCH: Final = 5_000  # rows of one transaction, so that nothing waits long for it

_SQL: Final = _sql.load("retention.sql")
_APACHE: Final = _sql.load("apache/retention.sql")


async def drop_passed(
    connection: Connection, edition: Edition, retention: Retention, now: datetime
) -> int:
    """Drop the days that are wholly older than `retention`, or a batch of their rows.

    On every edition the same days go, each at midnight in UTC. The totals stay.

    Returns:
        How many chunks or rows went; with BATCH of them there may be more. None where
        policies see to it, nor while another process does.
    """
    if edition is Edition.COMMUNITY:
        return 0
    async with only_one(connection, "retention") as ours:
        if not ours:
            return 0
        before = now - retention.kept
        if edition is Edition.APACHE:
            chunks: int = await connection.fetchval(_APACHE["drop_chunks"], before)
            return chunks
        status = await connection.execute(_SQL["delete_passed"], _first_id(before), BATCH)
        return int(status.removeprefix("DELETE "))


async def drop_meter_events(connection: Connection, now: datetime) -> int:
    """Drop a batch of what Stripe's meters were told and nobody compares any more.

    Returns:
        How many rows went; with BATCH of them there may be more.
    """
    async with only_one(connection, "retention") as ours:
        if not ours:
            return 0
        query = _SQL["delete_meter_events"]
        status = await connection.execute(query, now - METER_EVENTS_KEPT, BATCH)
        return int(status.removeprefix("DELETE "))


def _first_id(before: datetime) -> UUID:
    """The least id of the day that `before` is in."""
    midnight = before.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return UUID(int=int(midnight.timestamp() * 1_000) << 80)

"""The end of raw events, where TimescaleDB's Community edition does not see to it."""

from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from ledger import _sql
from ledger.ages import Retention
from ledger.db import Connection, only_one
from ledger.editions import Edition

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


def _first_id(before: datetime) -> UUID:
    """The least id of the day that `before` is in."""
    midnight = before.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return UUID(int=int(midnight.timestamp() * 1_000) << 80)

"""Drops raw usage events that have been kept for long enough."""

import asyncio
from datetime import UTC, datetime
from typing import Final

import asyncpg
import structlog

from consumers.pause import pause
from ledger.ages import Retention
from ledger.db import Pool, acquire
from ledger.editions import find_edition
from ledger.errors import LedgerError
from ledger.retention import BATCH, drop_passed

log = structlog.get_logger()

EVERY_S: Final = 3_600.0
BETWEEN_S: Final = 0.1  # two batches: the fold comes first


async def keep_retention(pool: Pool, retention: Retention, stop: asyncio.Event) -> None:
    """Do so every hour until `stop`; where TimescaleDB has policies they do it."""
    while not stop.is_set():
        try:
            dropped = await _drop(pool, retention)
        except (LedgerError, asyncpg.PostgresError) as error:  # the tables may not be there yet
            log.warning("usage_not_dropped", error=repr(error))
            dropped = 0
        await pause(stop, BETWEEN_S if dropped >= BATCH else EVERY_S)


async def _drop(pool: Pool, retention: Retention) -> int:
    async with acquire(pool) as connection:
        edition = await find_edition(connection)
        dropped = await drop_passed(connection, edition, retention, datetime.now(UTC))
    if dropped:
        log.info("usage_dropped", edition=edition, count=dropped)
    return dropped

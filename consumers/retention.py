"""Drops raw usage events that have been kept for long enough."""

import asyncio
from datetime import UTC, datetime
from typing import Final

import structlog

from consumers.keeping import keep_doing
from ledger.ages import Retention
from ledger.db import Pool, acquire
from ledger.editions import find_edition
from ledger.retention import BATCH, drop_meter_events, drop_passed

log = structlog.get_logger()

EVERY_S: Final = 3_600.0
BETWEEN_S: Final = 0.1  # two batches: the fold comes first


async def keep_retention(pool: Pool, retention: Retention, stop: asyncio.Event) -> None:
    """Do so every hour until `stop`; where TimescaleDB has policies they do it."""

    async def work() -> float:
        return BETWEEN_S if await _drop(pool, retention) >= BATCH else EVERY_S

    # the tables may not be there yet
    await keep_doing("usage_retention", work, stop, retry_s=EVERY_S)


async def _drop(pool: Pool, retention: Retention) -> int:
    async with acquire(pool) as connection:
        edition = await find_edition(connection)
        dropped = await drop_passed(connection, edition, retention, datetime.now(UTC))
        told = await drop_meter_events(connection, datetime.now(UTC))
    if dropped:
        log.info("usage_dropped", edition=edition, count=dropped)
    if told:
        log.info("meter_events_dropped", count=told)
    return max(dropped, told)

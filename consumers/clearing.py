"""Clears away counters of windows that have passed."""

import asyncio
import time
from typing import Final

import nats.errors
import structlog
from nats.aio.client import Client

from consumers.pause import pause
from events import counters
from events.streams import QUOTAS

log = structlog.get_logger()

EVERY_S: Final = 3_600.0


async def clear_passed(connection: Client, now_ms: int) -> None:
    """Purge every day and month of two months that is over for a day.

    Raises:
        nats.errors.Error: the broker is away.
    """
    jetstream = connection.jetstream()
    for filter_ in counters.passed(now_ms):
        await jetstream.purge_stream(QUOTAS, subject=filter_)


async def keep_clear(connection: Client, stop: asyncio.Event) -> None:
    """Do so every hour until `stop`; two at once do no harm."""
    while not stop.is_set():
        try:
            await clear_passed(connection, int(time.time() * 1_000))
        except (nats.errors.Error, OSError, TimeoutError) as error:
            log.warning("counters_not_cleared", error=repr(error))
        await pause(stop, EVERY_S)

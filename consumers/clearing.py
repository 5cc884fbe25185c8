"""Clears away counters of windows that have passed."""

import asyncio
import time
from typing import Final

from nats.aio.client import Client

from consumers.keeping import keep_doing
from events import counters
from events.streams import QUOTAS

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

    async def work() -> float:
        await clear_passed(connection, int(time.time() * 1_000))
        return EVERY_S

    await keep_doing("counters_clearing", work, stop, retry_s=EVERY_S)

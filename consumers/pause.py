"""Waiting that a stop ends."""

import asyncio
import contextlib


async def pause(event: asyncio.Event, timeout_s: float) -> None:
    """Wait until the event, or until the time is over."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await event.wait()

"""Waiting for a condition, never for a duration."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable

# how long a test waits for what should come in milliseconds before it calls it missing:
# a shared machine can stand still for a minute
PATIENCE_S = 240.0


async def until(
    condition: Callable[[], object | Awaitable[object]], timeout_s: float = PATIENCE_S
) -> None:
    """Wait until a condition, which may be a coroutine function, is true."""
    async with asyncio.timeout(timeout_s):
        while True:
            found = condition()
            if inspect.isawaitable(found):
                found = await found
            if found:
                return
            await asyncio.sleep(0.02)

"""Waiting for a condition, never for a duration."""

import asyncio
import inspect
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

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


@contextmanager
def ending(within_s: float = PATIENCE_S) -> Iterator[None]:
    """End what would run for ever without an await, as a regular expression may."""

    def end(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, within_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

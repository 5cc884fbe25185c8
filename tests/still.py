"""An event loop whose clock stands still while its process does.

A shared machine may stop a process for many seconds. By the usual clock every timeout that
was under way has passed when it goes on, although what was waited for is there to be read.
"""

import asyncio
import selectors
import time
from typing import Final

LOOK_S: Final = 0.1  # the longest that the loop waits at a time
LONGEST_S: Final = 0.5  # that its clock goes on between two looks


class _Watchful(selectors.DefaultSelector):
    """Returns now and then, also if nothing happens."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        return super().select(LOOK_S if timeout is None else min(timeout, LOOK_S))


class StillLoop(asyncio.SelectorEventLoop):
    """asyncio's, by another clock; what blocks it is none of its time either."""

    def __init__(self) -> None:
        self._looked_at = time.monotonic()
        self._now = self._looked_at
        super().__init__(_Watchful())

    def time(self) -> float:
        """Seconds, of those in which this process ran."""
        now = time.monotonic()
        self._now += min(now - self._looked_at, LONGEST_S)
        self._looked_at = now
        return self._now

"""The plans file as it is now: read again when it changes."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import structlog
from prometheus_client import Gauge

from events.errors import BadPlansFile
from events.plans import UNLIMITED, Plans, read_plans

log = structlog.get_logger()

LOOK_S: Final = 1.0
REFUSED: Final = Gauge(
    "tollgate_plans_refused",
    "1 while the plans file cannot be used, and older plans go on.",
    multiprocess_mode="max",
)


class PlansFile:
    """Plans by name; a file with a mistake leaves them as they were.

    Args:
        path: The plans file; without one everybody may do everything.

    Raises:
        BadPlansFile: the file cannot be used, and there are no plans to go on with.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._seen = _stamp(path)
        self.plans: Plans = UNLIMITED if path is None else read_plans(path)

    async def changes(self) -> AsyncIterator[Plans]:
        """Look for changes of the file, for ever: the plans after each that was taken up."""
        while True:
            await asyncio.sleep(LOOK_S)
            stamp = _stamp(self._path)
            if self._path is None or stamp == self._seen:
                continue
            self._seen = stamp
            try:
                self.plans = await asyncio.to_thread(read_plans, self._path)
            except BadPlansFile as error:
                log.error("plans_refused", error=str(error))
                REFUSED.set(1)
            else:
                log.info("plans_read", plans=list(self.plans))
                REFUSED.set(0)
                yield self.plans


def _stamp(path: Path | None) -> tuple[int, int, int] | None:
    """Changes whenever the file does; None where there is none."""
    try:
        found = path.stat() if path is not None else None
    except OSError:
        return None
    return found and (found.st_mtime_ns, found.st_size, found.st_ino)

"""Work that is done again and again as long as the consumers run."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import asyncpg
import nats.errors
import structlog

from consumers.pause import pause
from events.errors import WireError
from ledger.errors import LedgerError

log = structlog.get_logger()

#: What is expected to go wrong: somebody is away, or says what is of no use now.
TROUBLE: Final = (
    LedgerError,
    WireError,
    asyncpg.PostgresError,
    nats.errors.Error,
    OSError,
    TimeoutError,
)


async def keep_doing(
    name: str, work: Callable[[], Awaitable[float]], stop: asyncio.Event, *, retry_s: float
) -> None:
    """Do something until `stop`. What goes wrong with it is said, and ends nothing else.

    Args:
        name: What it is, for the log.
        work: Done once; the seconds until it is to be done again.
        stop: Ends the waiting, too.
        retry_s: The seconds until then where it failed.
    """
    while not stop.is_set():
        try:
            wait_s = await work()
        except TROUBLE as error:
            log.warning("work_waits", name=name, error=repr(error))
            wait_s = retry_s
        except Exception:  # a fault of ours; the others go on, and so does this with the rest
            log.exception("work_failed", name=name)
            wait_s = retry_s
        await pause(stop, wait_s)

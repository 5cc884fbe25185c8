"""Ending what runs beside."""

import asyncio
from collections.abc import Iterable
from typing import Any, Final

AGAIN_S: Final = 5.0  # longer than closing takes, which another cancellation would cut off


async def end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks until they have ended, however they do.

    Once may not be heard: `asyncio.wait_for`, in which clients of servers wait, forgets, until
    Python 3.12, a cancellation that comes just when what it waits for does.
    """
    left = {task for task in tasks if not task.done()}
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=AGAIN_S)

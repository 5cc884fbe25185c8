"""So many jobs at once, and by priority."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from events.turns import Turns


class Places:
    """Lets a number of jobs run; of those that wait it is `Turns` that chooses."""

    def __init__(self, number: int) -> None:
        self._free = number
        self._turns = Turns()
        self._line: list[tuple[int, asyncio.Future[None]]] = []

    @asynccontextmanager
    async def one(self, priority: int) -> AsyncIterator[None]:
        """Wait for a place, and have it within the block."""
        if self._free:
            self._free -= 1
        else:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._line.append((priority, turn))
            try:
                await turn
            except asyncio.CancelledError:
                self._line = [one for one in self._line if one[1] is not turn]
                if not turn.cancelled():  # it was ours already
                    self._leave()
                raise
        try:
            yield
        finally:
            self._leave()

    def _leave(self) -> None:
        # who was cancelled may not have got to leaving the line
        self._line = [one for one in self._line if not one[1].done()]
        if not self._line:
            self._free += 1
            return
        chosen = self._turns.next([priority for priority, _ in self._line])
        _, turn = self._line.pop(chosen)
        turn.set_result(None)

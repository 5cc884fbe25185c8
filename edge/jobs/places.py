"""So many jobs at once: by priority, and of no account more than half while others wait."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from msgspec import Struct

from events.turns import Turns


class _Waiting(Struct, frozen=True, eq=False):
    account: str
    priority: int
    turn: asyncio.Future[None]


class Places:
    """Lets a number of jobs run; of those that wait it is `Turns` that chooses a priority.

    Within that it is first come, first served, but for accounts that have half of all places.
    """

    def __init__(self, number: int) -> None:
        self._free = number
        self._share = max(1, number // 2)
        self._running: Counter[str] = Counter()
        self._line: list[_Waiting] = []
        self._turns = Turns()

    def waiting(self, account: str | None = None) -> int:
        """How many wait, of one account or of all."""
        return sum(account in {None, one.account} for one in self._line)

    @asynccontextmanager
    async def one(self, account: str, priority: int) -> AsyncIterator[None]:
        """Wait for a place, and have it within the block."""
        if self._free:
            self._free -= 1
            self._running[account] += 1
        else:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._line.append(_Waiting(account, priority, turn))
            try:
                await turn
            except asyncio.CancelledError:
                self._line = [one for one in self._line if one.turn is not turn]
                if not turn.cancelled():  # it was ours already
                    self._leave(account)
                raise
        try:
            yield
        finally:
            self._leave(account)

    def _leave(self, account: str) -> None:
        self._running -= Counter([account])  # which forgets accounts that have none
        # who was cancelled may not have got to leaving the line
        self._line = [one for one in self._line if not one.turn.done()]
        if not self._line:
            self._free += 1
            return
        chosen = self._choose()
        self._line.remove(chosen)
        self._running[chosen.account] += 1
        chosen.turn.set_result(None)

    def _choose(self) -> _Waiting:
        position = self._turns.next([one.priority for one in self._line])
        first = self._line[position]
        equals = (one for one in self._line if one.priority == first.priority)
        modest = (one for one in equals if self._running[one.account] < self._share)
        return next(modest, first)

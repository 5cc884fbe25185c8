"""What this edge may still give of one limit, and how it gets more."""

import asyncio
import contextlib
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, Protocol

from edge.errors import BrokerAway, EdgeError, LedgerAway

SHARE: Final = 32  # the most taken ahead is this part of what is left: 3 %
QUICK_S: Final = 3.0  # what was taken ahead should last about as long
IDLE_S: Final = 5.0
KEPT_S: Final = 30.0  # a counter that is older than this and some: nobody has any of it

Spawn = Callable[[Coroutine[Any, Any, None]], object]


class Keeper(Protocol):
    """Who looks after allowances."""

    def spawn(self, work: Coroutine[Any, Any, None]) -> object:
        """Have something done."""

    def look_after(self, allowance: "Allowance") -> None:
        """Call its `tend` now and then: it may have something to return."""


class Allowance(ABC):
    """Gives from what is free at once, and asks for more otherwise.

    One question is under way at a time, and what arrives meanwhile is asked for
    together: so a busy account costs the broker no more than a quiet one.

    Attributes:
        free: What can be given without asking.
        start_ms, end_ms: The requests that it is for, by the time in their ids.
        usable_ms: Until when it may be given, in Unix milliseconds.
        used: How much of the limit is gone everywhere, as last heard; what is free
            here counts as gone.
    """

    __slots__ = (
        "_asked_at",
        "_asking",
        "_block",
        "_free_before",
        "_given_back",
        "_keeper",
        "_used_at",
        "_waiting",
        "end_ms",
        "free",
        "limit",
        "lost",
        "start_ms",
        "usable_ms",
        "used",
    )

    def __init__(
        self, keeper: Keeper, *, limit: int, start_ms: int, end_ms: int, usable_ms: int
    ) -> None:
        self.free = 0
        self.limit = limit
        self.start_ms = start_ms
        self.end_ms = end_ms
        self.usable_ms = usable_ms
        self.used: int | None = None
        self.lost = False
        self._keeper = keeper
        self._waiting: list[tuple[int, asyncio.Future[bool]]] = []
        self._asking = False
        self._block = 0
        self._asked_at = 0.0
        self._free_before = 0
        self._given_back = False
        self._used_at = 0.0

    @abstractmethod
    async def _acquire(self, lacking: int, least: int) -> int:
        """Get more from the counters: `lacking`, or what there is from `least` on."""

    @abstractmethod
    async def _return(self, amount: int) -> None:
        """Give back to the counters."""

    @property
    def remaining(self) -> int:
        """What is left of the limit, as far as this edge knows."""
        return max(0, self.limit - (self.used or 0) + self.free)

    async def obtain(self, amount: int) -> bool:
        """Take an amount that is not free; whether it was to be had.

        Raises:
            BrokerAway: the counters cannot be asked.
        """
        if amount > self.limit:
            return False
        self._keeper.look_after(self)
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((amount, answer))
        if not self._asking:
            self._asking = True
            self._keeper.spawn(self._ask())
        try:
            return await answer
        except asyncio.CancelledError:
            if answer.done() and not answer.cancelled() and not answer.exception():
                self.give_back(amount if answer.result() else 0)
            raise

    async def _ask(self) -> None:
        waiting: list[tuple[int, asyncio.Future[bool]]] = []
        try:
            while self._waiting:
                waiting, self._waiting = self._waiting, []
                # put aside, or who comes meanwhile would take it from those who wait
                in_hand, self.free = self.free, 0
                amounts = [amount for amount, _ in waiting]
                try:
                    if (lacking := sum(amounts) - in_hand) > 0:
                        in_hand += await self._acquire(lacking, max(1, min(amounts) - in_hand))
                except (BrokerAway, LedgerAway) as error:
                    _refuse(waiting, error)
                if self.lost:  # the broker was away: what it granted may be somebody else's
                    in_hand = 0
                    _refuse(waiting, _lost())
                for amount, answer in waiting:
                    if not answer.done():
                        possible = amount <= in_hand
                        in_hand -= amount if possible else 0
                        answer.set_result(possible)
                self.free += in_hand
        finally:
            self._asking = False
            for _, answer in (*waiting, *self._waiting):  # only where this was cancelled
                answer.cancel()

    @abstractmethod
    async def refresh(self) -> None:
        """Learn how much is used; see `remaining`.

        Raises:
            BrokerAway: the counters cannot be read.
        """

    @abstractmethod
    async def settle(self, held: int, used: int) -> None:
        """Count what was used of an amount that was given.

        Args:
            held: What was given.
            used: What is to be counted; below zero takes back what was counted before.
        """

    @abstractmethod
    async def adopt(self, amount: int) -> None:
        """Answer for an amount that an earlier allowance of the same limit gave.

        Nothing is refused: it was granted already. The earlier one is to be given it back
        only afterwards, so that it is counted twice for a moment and never not at all.

        Raises:
            BrokerAway: not known to be counted.
        """

    def give_back(self, amount: int) -> None:
        """Take back what was given and not used, for others or to return it."""
        if self.lost or not amount:
            return
        self.free += amount
        self._given_back = True
        self._keeper.look_after(self)
        if self.usable_ms <= time.time() * 1_000:
            self._keeper.spawn(self.give_up())

    def retire(self) -> None:
        """Give nothing more, and return what is free, now and later."""
        self.usable_ms = 0
        if self.free and not self.lost:
            self._keeper.spawn(self.give_up())

    def lose(self) -> None:
        """Forget everything: the counters may have."""
        self.lost = True
        self.free = self.end_ms = 0

    async def give_up(self) -> None:
        """Return all that is free; nothing more is to be given."""
        amount, self.free = self.free, 0
        if amount and not self.lost:
            self.used = None if self.used is None else self.used - amount
            await self._return(amount)

    async def tend(self) -> bool:
        """Return what lies idle, or is old; or fetch more ahead of need.

        What is a good part of all that is left goes back at once: others may be waiting
        for it. A little of much may wait for the account's next requests.

        Returns:
            Whether there is nothing left to tend.
        """
        now = asyncio.get_running_loop().time()
        idle = self.free == self._free_before and not self._given_back
        self._free_before, self._given_back = self.free, False
        if not idle:
            self._used_at = now
        scarce = self.free > self._room() // SHARE
        unused = idle and (scarce or self._used_at + IDLE_S < now)
        if self.free and (unused or self._asked_at + KEPT_S < now):
            self._block = 0
            await self.give_up()
        elif self.free * 4 < self._block <= self._room() // SHARE and not self._asking:
            self._keeper.spawn(self._fetch(self._block))
        return idle and not self.free and not self._asking

    async def _fetch(self, amount: int) -> None:
        """Have an amount ready, so that no request has to wait for it."""
        with contextlib.suppress(BrokerAway, LedgerAway):
            if await self.obtain(amount):
                self.give_back(amount)

    def _room(self) -> int:
        return 0 if self.used is None else self.limit - self.used

    def _seems_full(self, least: int) -> bool:
        """Whether less than that was left when the counters were last heard of."""
        return least > self.limit - (self.used or 0)

    def _ahead(self, lacking: int) -> int:
        """How much more to ask for than is lacking: soon twice as much, where it is used fast."""
        now = asyncio.get_running_loop().time()
        quick, self._asked_at = now - self._asked_at < QUICK_S, now
        self._block = max(lacking, self._block * 2) if quick else self._block // 2
        return max(0, min(self._block, self._room() // SHARE) - lacking)


def _refuse(waiting: Sequence[tuple[int, asyncio.Future[bool]]], error: EdgeError) -> None:
    for _, answer in waiting:
        if not answer.done():
            answer.set_exception(error)


def _lost() -> BrokerAway:
    message = "the message broker was away for a moment; nothing was executed, try again"
    return BrokerAway(message, retry_after_s=1)


class _Nothing(Allowance):
    """In place of an allowance that there is not yet: it is for no request."""

    async def _acquire(self, lacking: int, least: int) -> int:
        raise NotImplementedError

    async def _return(self, amount: int) -> None:
        raise NotImplementedError

    async def refresh(self) -> None:
        raise NotImplementedError

    async def settle(self, held: int, used: int) -> None:
        raise NotImplementedError

    async def adopt(self, amount: int) -> None:
        raise NotImplementedError


class _Nobody:
    def spawn(self, work: Coroutine[Any, Any, None]) -> object:
        raise NotImplementedError

    def look_after(self, allowance: Allowance) -> None:
        raise NotImplementedError


NOTHING: Final = _Nothing(_Nobody(), limit=0, start_ms=0, end_ms=0, usable_ms=0)

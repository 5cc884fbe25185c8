"""Parts of a budget, and slots, set aside until it is known what was used."""

import asyncio
import random
import time
from collections.abc import Callable
from typing import Final

from edge.admission.allowance import Allowance, Keeper, Spawn
from edge.admission.counters import Counters
from edge.admission.true_up import LedgerOf
from edge.errors import DeadlinePassed
from events.counters import expiry, is_past, is_stale
from events.windows import Span

TRIES: Final = 3
COLLISION_S: Final = 0.005  # two edges that ask at once see each other, and both stand back
FULL_S: Final = 0.05  # who was refused is not asked for again at once


class Spent:
    """What was used of one budget in one window; additions are acknowledged in groups."""

    def __init__(
        self,
        spawn: Spawn,
        counters: Counters,
        subject: str,
        *,
        tell: Callable[[int], None] | None = None,
    ) -> None:
        self._tell = tell  # of each new total
        self._spawn = spawn
        self._counters = counters
        self.subject = subject
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        self._adding = False

    async def add(self, amount: int) -> None:
        """Return once the amount is durably counted.

        Raises:
            BrokerAway: it is not known to be.
        """
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((amount, done))
        if not self._adding:
            self._adding = True
            self._spawn(self._add())
        await done

    async def _add(self) -> None:
        waiting: list[tuple[int, asyncio.Future[None]]] = []
        try:
            while self._waiting:
                waiting, self._waiting = self._waiting, []
                try:
                    added = sum(amount for amount, _ in waiting)
                    total = await self._counters.add(self.subject, added)
                    if self._tell is not None:
                        self._tell(total)
                except Exception as error:  # noqa: BLE001 - whoever waits handles it
                    for _, done in waiting:
                        if not done.done():
                            done.set_exception(error)
                for _, done in waiting:
                    if not done.done():
                        done.set_result(None)
        finally:
            self._adding = False
            for _, done in (*waiting, *self._waiting):  # only where this was cancelled
                done.cancel()


class Hold(Allowance):
    """Added to a bucket named by the time at which it expires.

    After the addition everything is read at once: what was spent, and the buckets
    that have not expired. Whoever adds before reading is seen by all who read later:
    so two edges never both take the last of it.

    Args:
        keeper: Looks after it.
        counters: Where to count.
        stream: Where they are.
        base: The subject under which the budget's counters are.
        limit: Of what is spent and held together.
        span: The window, by the requests' ids.
        spent: Where what was used is counted; None where nothing is used up.
        ledger: What that should agree with.
        hold_s: The longest that a request may take, with all its answers.
    """

    __slots__ = (
        "_base",
        "_bucket",
        "_counters",
        "_expires_s",
        "_full_until",
        "_ledger",
        "_spent",
        "_stream",
    )

    def __init__(
        self,
        keeper: Keeper,
        counters: Counters,
        stream: str,
        base: str,
        *,
        limit: int,
        span: Span,
        spent: Spent | None,
        ledger: LedgerOf | None,
        hold_s: float,
    ) -> None:
        expires_s = expiry(time.time() + hold_s)
        super().__init__(
            keeper,
            limit=limit,
            start_ms=span.start_ms,
            end_ms=span.end_ms,
            usable_ms=int((expires_s - hold_s) * 1_000),
        )
        self._counters = counters
        self._stream = stream
        self._base = base
        self._bucket = f"{base}.h{expires_s}"
        self._expires_s = expires_s
        self._spent = spent
        self._ledger = ledger
        self._full_until = 0.0

    async def _acquire(self, lacking: int, least: int) -> int:
        if asyncio.get_running_loop().time() < self._full_until:
            return 0
        if self.used is None and self._spent is not None and self._ledger is not None:
            found = await self._counters.read(self._stream, self._spent.subject)
            if not found:
                await self._ledger.start(self._spent.subject)
        asked = lacking + self._ahead(lacking)
        for attempt in range(TRIES):
            granted = await self._try(asked) if await self._has_room(least) else 0
            if granted >= least:
                return granted
            if granted:
                await self._counters.add_later(self._bucket, -granted)
            if least > self.limit:
                break
            if attempt < TRIES - 1:
                await asyncio.sleep(COLLISION_S * (0.5 + random.random()))  # noqa: S311 - no secret
        self._full_until = asyncio.get_running_loop().time() + FULL_S
        if self._spent is not None and self._ledger is not None:
            await self._ledger.correct(self._stream, self._spent.subject)
        return 0

    async def _has_room(self, least: int) -> bool:
        """Look before adding: what is full and hammered would never come to rest."""
        if self._seems_full(least):
            await self.refresh()
        return not self._seems_full(least)

    async def _try(self, asked: int) -> int:
        await self._counters.add(self._bucket, asked)
        total = await self._total()
        granted = max(0, min(asked, self.limit - (total - asked)))
        self.used = total - (asked - granted)
        if granted < asked:
            await self._counters.add_later(self._bucket, granted - asked)
        return granted

    async def refresh(self) -> None:
        """Read what is spent and held."""
        self.used = await self._total()

    async def _total(self) -> int:
        """What is spent and held, as of one moment."""
        now = time.time()
        total = 0
        found = await self._counters.read(self._stream, f"{self._base}.>")
        for subject, amount in found.items():
            if not is_past(subject, now):
                total += max(0, amount)
            elif is_stale(subject, now):
                await self._counters.forget(self._stream, subject)
        return total

    async def _return(self, amount: int) -> None:
        await self._counters.add_later(self._bucket, -amount)

    async def settle(self, held: int, used: int) -> None:
        """Count what was used, durably, and free the rest.

        In this order: were it freed first, somebody else could take it before it is
        counted. A dead edge leaves it held, or counted and held; never neither.

        Raises:
            DeadlinePassed: the hold expired first, and may be somebody else's by now.
            BrokerAway: not known to be counted; the hold stays until it expires.
        """
        if self._expires_s <= time.time():
            message = "the request took longer than its budget was held; it is not billed"
            raise DeadlinePassed(message)
        if used and self._spent is not None:
            await self._spent.add(used)
            if not self.lost:
                await self._counters.add_later(self._bucket, -max(0, min(used, held)))
        self.give_back(max(0, held - max(0, used)))

    async def adopt(self, amount: int) -> None:
        """Hold it in this bucket, too."""
        await self._counters.add(self._bucket, amount)

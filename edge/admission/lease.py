"""Blocks of a window's limit."""

import asyncio
from typing import Final

from edge.admission.allowance import Allowance, Keeper
from edge.admission.counters import Counters
from edge.admission.true_up import LedgerOf
from events.windows import Span

RECHECK_S: Final = 0.25  # others give back what they do not use within a second

ALWAYS_MS: Final = 2**62


class Lease(Allowance):
    """Counted when it is granted; so no two edges are ever granted the same part.

    A total tells which part an addition of `n` stands for: the one from ``total - n``
    to ``total``, of which as much is granted as lies within the limit.
    """

    __slots__ = ("_counters", "_full_until", "_ledger", "_stream", "_subject")

    def __init__(
        self,
        keeper: Keeper,
        counters: Counters,
        stream: str,
        subject: str,
        *,
        limit: int,
        span: Span,
        ledger: LedgerOf | None,
    ) -> None:
        super().__init__(
            keeper,
            limit=limit,
            start_ms=span.start_ms,
            end_ms=span.end_ms,
            usable_ms=ALWAYS_MS,
        )
        self._counters = counters
        self._stream = stream
        self._subject = subject
        self._ledger = ledger
        self._full_until = 0.0

    async def _acquire(self, lacking: int, least: int) -> int:
        if self.used is None and self._ledger is not None:
            await self._look()
        if self._seems_full(least) and await self._is_full(least):
            return 0
        asked = lacking + self._ahead(lacking)
        total = await self._counters.add(self._subject, asked)
        granted = max(0, min(asked, self.limit - (total - asked)))
        self.used = total - (asked - granted)
        if granted < asked:
            await self._counters.add_later(self._subject, granted - asked)
        return granted

    async def _is_full(self, least: int) -> bool:
        """Look before adding: a counter at rest can be trued up, one that is hammered cannot."""
        now = asyncio.get_running_loop().time()
        if now < self._full_until:
            return True
        await self._look()
        full = self._seems_full(least)
        if full:
            self._full_until = now + RECHECK_S
            if self._ledger is not None:
                await self._ledger.correct(self._stream, self._subject)
        return full

    async def refresh(self) -> None:
        """Read the counter."""
        await self._look()

    async def _look(self) -> None:
        found = await self._counters.read(self._stream, self._subject)
        if self._subject not in found and self._ledger is not None:
            await self._ledger.start(self._subject)
            found = await self._counters.read(self._stream, self._subject)
        self.used = found.get(self._subject, 0)

    async def _return(self, amount: int) -> None:
        await self._counters.add_later(self._subject, -amount)

    async def settle(self, held: int, used: int) -> None:
        """Give back what was too much; or count, too late, what was too little."""
        if used <= held:
            self.give_back(held - used)
        elif not self.lost:
            await self._counters.add_later(self._subject, used - held)

    async def adopt(self, amount: int) -> None:
        """Count it once more, until the other one gives it back."""
        self.used = await self._counters.add(self._subject, amount)

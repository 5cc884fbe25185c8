"""Notices that a budget is nearly, or wholly, spent, and has the ledger announce it."""

import asyncio
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import structlog

from events.budgets import NEARLY, WHOLLY, BudgetReached
from events.windows import Span
from ledger.budgets import note_reached
from ledger.db import Pool, acquire
from ledger.errors import LedgerUnavailable, RefusedByLedger

log = structlog.get_logger()

RETRY_S: Final = 2.0
MAX_SEEN: Final = 100_000


class Alerts:
    """Says each thing once from here; the ledger sees to it that it is said once at all."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._seen: set[tuple[UUID, str, int, int, int]] = set()
        self._waiting: asyncio.Queue[BudgetReached] = asyncio.Queue()

    def spent(self, account_id: UUID, budget: str, span: Span, *, spent: int, limit: int) -> None:
        """Consider what was spent of a budget so far."""
        for percent in (NEARLY, WHOLLY):
            if limit and spent * 100 >= limit * percent:
                self._reach(account_id, budget, span, percent=percent, spent=spent, limit=limit)

    def refused(self, account_id: UUID, budget: str, span: Span, *, spent: int, limit: int) -> None:
        """Consider that a request was refused for a budget: if little is left, it is spent."""
        if limit and spent * 100 >= limit * NEARLY:
            self._reach(account_id, budget, span, percent=WHOLLY, spent=spent, limit=limit)

    def _reach(
        self, account_id: UUID, budget: str, span: Span, *, percent: int, spent: int, limit: int
    ) -> None:
        said = account_id, budget, span.start_ms, percent, limit
        if said in self._seen:
            return
        if len(self._seen) >= MAX_SEEN:
            self._seen.clear()
        self._seen.add(said)
        self._waiting.put_nowait(
            BudgetReached(
                account_id=account_id,
                budget=budget,
                percent=percent,
                spent=spent,
                limit=limit,
                window_start=datetime.fromtimestamp(span.start_ms / 1_000, UTC),
                timestamp=datetime.now(UTC),
            )
        )

    async def run(self) -> None:
        """Write down what was noticed, for ever; PostgreSQL may be away for a while."""
        while True:
            reached = await self._waiting.get()
            while True:
                try:
                    async with acquire(self._pool) as connection:
                        await note_reached(connection, reached)
                except LedgerUnavailable as error:
                    log.warning("budget_not_announced", error=repr(error))
                    await asyncio.sleep(RETRY_S)
                except RefusedByLedger as error:
                    log.error("budget_not_announced", error=repr(error))
                    break
                else:
                    break

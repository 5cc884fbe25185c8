"""Has plans follow where no event asks for it: when time passes, or the plans file changes."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import structlog

from consumers.keeping import keep_doing
from events.plans_file import PlansFile
from ledger.db import Connection, Pool, acquire
from ledger.plan_changes import record_plans
from ledger.stripe.entitlements import follow, list_due, list_linked

log = structlog.get_logger()

LOOK_S: Final = 1.0
RETRY_S: Final = 2.0
BATCH: Final = 200  # customers of one transaction: while it lasts, their events wait

TIMER: Final = "timer"
FILE: Final = "plans file"


async def follow_due(connection: Connection, plans: PlansFile) -> int:
    """Derive plans anew whose end has come; how many changed."""
    changed, now = 0, datetime.now(UTC)
    before: Sequence[str] = ()
    while (due := await list_due(connection, now, BATCH)) and due != before:
        async with connection.transaction():
            changed += len(await follow(connection, due, plans.plans, why=TIMER, now=now))
        before = due
    return changed


async def follow_file(connection: Connection, plans: PlansFile) -> int:
    """Record what the plans file says, and derive every linked account's plan by it."""
    await record_plans(connection, plans.plans)
    changed, last = 0, ""
    while customers := await list_linked(connection, last, BATCH):
        async with connection.transaction():
            changed += len(await follow(connection, customers, plans.plans, why=FILE))
        last = customers[-1]
    return changed


class PlansKeeper:
    """Does both, as long as the consumers run. Several processes do no harm.

    At the start, too: the file may have changed while nobody looked, and another process
    may have gone by the old one until now.
    """

    def __init__(self, pool: Pool, plans: PlansFile) -> None:
        self._pool = pool
        self._plans = plans
        self._changed = asyncio.Event()  # the file, since it was followed
        self._changed.set()

    async def work(self, stop: asyncio.Event) -> None:
        """Keep plans true until `stop`; PostgreSQL may be away for a while."""
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(self._watch())
            await keep_doing("stripe_plans", self._look, stop, retry_s=RETRY_S)
            watching.cancel()

    async def _watch(self) -> None:
        async for _ in self._plans.changes():
            self._changed.set()

    async def _look(self) -> float:
        async with acquire(self._pool) as connection:
            if self._changed.is_set():
                self._changed.clear()
                try:
                    changed = await follow_file(connection, self._plans)
                except BaseException:
                    self._changed.set()
                    raise
                log.info("plans_followed", changed=changed)
            await follow_due(connection, self._plans)
        return LOOK_S

"""Requests that were not answered, stated together every few seconds.

They are for the customer's charts and nobody pays for them: so nobody waits until one
is durable, and an edge that dies takes the last of them along. A flood of refused
requests costs one usage event for each kind, key and status.
"""

import asyncio
from collections import Counter
from typing import Final
from uuid import UUID

import structlog
from msgspec import Struct

from edge.auth import Caller
from edge.errors import EdgeError, UnknownModel, UnknownTask
from edge.metering import Meter
from events.ids import new_id
from events.usage import Quantities, Usage

log = structlog.get_logger()

UNKNOWN: Final = "unknown"  # one name for all models and tasks that there are not
MAX_KINDS: Final = 10_000


class _Kind(Struct, frozen=True):
    """What is counted together."""

    account_id: UUID
    key_id: str
    model: str
    task: str
    status: int


class Failures:
    """Counts them.

    Args:
        meter: Where they are stated.
        every_s: How often.
    """

    def __init__(self, meter: Meter, *, every_s: float) -> None:
        self._meter = meter
        self._every_s = every_s
        self._counts: Counter[_Kind] = Counter()

    def note(self, caller: Caller, model: str, task: str, error: EdgeError) -> None:
        """Count a request that got an error in place of an answer."""
        if isinstance(error, UnknownModel):
            model = UNKNOWN
        if isinstance(error, UnknownModel | UnknownTask):
            task = UNKNOWN
        kind = _Kind(caller.account.id, caller.key.id, model, task, error.status)
        if kind in self._counts or len(self._counts) < MAX_KINDS:
            self._counts[kind] += 1

    async def run(self) -> None:
        """State them, for ever."""
        while True:
            await asyncio.sleep(self._every_s)
            await self.state()

    async def state(self) -> None:
        """State those that were counted since the last time."""
        counts, self._counts = self._counts, Counter()
        async with asyncio.TaskGroup() as tasks:
            for kind, number in counts.items():
                tasks.create_task(self._record(kind, number))

    async def _record(self, kind: _Kind, number: int) -> None:
        fact = Usage(
            request_id=new_id(),
            account_id=kind.account_id,
            key_id=kind.key_id,
            model=kind.model,
            task=kind.task,
            status=kind.status,
            quantities=Quantities(requests=0, errors=number),
        )
        try:
            await self._meter.record(fact)
        except EdgeError as error:
            log.warning("failures_not_stated", number=number, error=repr(error))

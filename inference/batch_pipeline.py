"""The road of a model that answers in one go: requests wait, and run in batches."""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NoReturn
from uuid import UUID

from events.models import Limits
from events.turns import Turns
from inference.batch import Size, Waiting, is_full, next_batch, padded
from inference.job import Job
from inference.models.model import Model
from inference.pipeline import Pipeline, Send
from inference.run import run
from inference.thread import ModelThread


class BatchPipeline(Pipeline):
    """Packs what waits by padded tokens and expected time, one batch at a time."""

    def __init__(
        self,
        model: Model,
        limits: Limits,
        send: Send,
        *,
        device: ModelThread | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(model, limits, send, device=device, now=now)
        self._model = model
        self._turns = Turns()
        self._running: Sequence[Job] = ()
        self._run_since = 0.0  # time.monotonic()

    def read(self, request_id: UUID, chunks: int) -> None:
        """Nothing: there are no streams here."""

    def _stop(self, job: Job) -> None:
        """Nothing: a batch that has begun ends by itself, and soon."""

    async def _stop_all(self) -> int:
        return 0

    def _room_in_ms(self) -> float:
        elapsed_s = time.monotonic() - self._run_since
        return self._pace.room_in_ms(len(self._running), elapsed_s)

    async def _run(self) -> NoReturn:
        while True:
            jobs = await self._next_batch()
            self._running, self._run_since = jobs, time.monotonic()
            ended = await self._device.call(run, self._model, jobs)
            seconds = time.monotonic() - self._run_since
            tokens = padded([_waiting(job).size for job in jobs])
            self._pace.ran(len(jobs), seconds, tokens=tokens)
            self._running = ()
            self._end(ended)

    async def _next_batch(self) -> Sequence[Job]:
        while True:
            self._waiting = self._without_expired(self._waiting)
            if not self._waiting:
                self._to_run.clear()
                await self._to_run.wait()
                continue
            waiting = [_waiting(job) for job in self._waiting]
            budget = self._budget()
            if await self._waited(waiting, budget):
                continue  # look again: some may have come, and some have been cancelled
            first = self._turns.next([one.priority for one in waiting])
            chosen = next_batch(waiting, first=first, budget=budget)
            taken = [self._waiting[position] for position in chosen]
            self._take(taken)
            return taken

    def _budget(self) -> int:
        limits = self._limits
        return self._pace.tokens_within(limits.batch_ms, at_most=limits.batch_tokens)

    async def _waited(self, waiting: Sequence[Waiting], budget: int) -> bool:
        """Where all fit into one batch, and more would, wait out the first's `batch_wait_ms`.

        Returns:
            Whether any was left.
        """
        waited_s = time.monotonic() - self._waiting[0].arrived
        left_s = self._limits.batch_wait_ms / 1_000 - waited_s
        sizes = [one.size for one in waiting]
        several_tasks = len({one.task for one in waiting}) > 1
        if left_s <= 0 or several_tasks or is_full(sizes, budget=budget):
            return False
        self._to_run.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(left_s):
                await self._to_run.wait()
        return True


def _waiting(job: Job) -> Waiting:
    assert job.prepared is not None, "only tokenized requests wait for the device"
    return Waiting(Size(job.prepared.width, job.prepared.rows), job.task.name, job.ask.priority)

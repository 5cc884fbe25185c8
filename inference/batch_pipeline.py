"""The road of a model that answers in one go: requests wait, and run in batches."""

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NoReturn
from uuid import UUID

from msgspec import Struct

from events.inference import Expired
from events.models import Limits
from events.turns import Turns
from inference.batch import Size, Waiting, is_full, next_batch, padded
from inference.job import Job
from inference.models.model import Divisible, Model, Parallel, Prepared
from inference.pace import Pace
from inference.pipeline import Pipeline, Send
from inference.run import Part, run
from inference.thread import ModelThread


class _Lane(Struct, eq=False):
    """A thread that runs one batch after the other."""

    device: ModelThread
    running: Sequence[Part] = ()
    since: float = 0.0  # time.monotonic()


class BatchPipeline(Pipeline):
    """Packs what waits by padded tokens and expected time, for each lane one batch at a time.

    A request of more rows than a batch may hold runs in parts, and in between it is
    everybody else's turn; its answer is made of all of them.
    """

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
        self._divisible = model if isinstance(model, Divisible) else None
        self._parallel = model if isinstance(model, Parallel) else None
        self._turns = Turns()
        lanes = self._parallel.lanes if self._parallel else 1
        self._lanes = [_Lane(self._device if n == 0 else ModelThread("run")) for n in range(lanes)]
        self._pace = Pace(lanes)

    def read(self, request_id: UUID, chunks: int) -> None:
        """Nothing: there are no streams here."""

    def _stop(self, job: Job) -> None:
        """Run no more of it; a batch that has begun ends by itself, and soon."""
        if job.left:
            self._take([job])
            self._end([(job, Expired())])

    async def _stop_all(self) -> int:
        return 0

    def _lacks(self) -> int:
        held, coming = self._before_the_device()
        # what runs in parts gives way to others between two: it holds back none of them
        waiting = [job for job in held if job.left is None]
        in_parts = len(waiting) < len(held) or any(
            part.job.left for lane in self._lanes for part in lane.running
        )
        idle = sum(not lane.running for lane in self._lanes)
        # one for each lane to go on with; what an idle lane takes at once waits for nobody
        least = len(self._lanes) + idle - len(waiting) - coming
        if not self._pace.is_known:
            return least
        pace, each_ms = self._pace, self._pace.each_ms()
        # their turn is a batch, which is not to be of one request
        enough_ms = max(pace.enough_ms(self._limits), self._limits.batch_ms if in_parts else 0.0)
        expected_ms = pace.tokens_ms(sum(_left(job).tokens for job in waiting)) + coming * each_ms
        return max(least, math.ceil((enough_ms - expected_ms) / each_ms))

    def _room_in_ms(self) -> float:
        now = time.monotonic()
        return min(
            self._pace.room_in_ms(len(lane.running), now - lane.since) for lane in self._lanes
        )

    async def _run(self) -> NoReturn:
        try:
            async with asyncio.TaskGroup() as lanes:
                for lane in self._lanes:
                    lanes.create_task(self._run_lane(lane))
        finally:
            for lane in self._lanes:
                lane.device.close()
        raise AssertionError("lanes run until they are cancelled")

    async def _run_lane(self, lane: _Lane) -> NoReturn:
        if self._parallel is not None:
            await lane.device.call(self._parallel.enter)
        while True:
            parts = await self._next_batch()
            lane.running, lane.since = parts, time.monotonic()
            ended = await lane.device.call(run, self._model, parts)
            seconds = time.monotonic() - lane.since
            tokens = padded([_size(part.prepared) for part in parts])
            self._pace.ran(len(parts), seconds, tokens=tokens)
            lane.running = ()
            # what was cancelled meanwhile knows already
            self._end([(job, outcome) for job, outcome in ended if not job.ended])
            self._waiting += [part.job for part in parts if part.job.left and not part.job.ended]

    async def _next_batch(self) -> Sequence[Part]:
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
            chosen = next_batch(waiting, first=first, budget=min(budget, self._share(waiting)))
            taken = [self._waiting[position] for position in chosen]
            self._take(taken)
            return [self._part(job, budget) for job in taken]

    def _part(self, job: Job, budget: int) -> Part:
        """As much of a request as a batch may hold; with the rest it goes behind all others."""
        left = _left(job)
        if self._divisible is None or left.rows == 1 or left.tokens <= budget:
            job.left = None
            return Part(job, left)
        part, job.left = self._divisible.cut(left, budget)
        return Part(job, part, last=False)

    def _share(self, waiting: Sequence[Waiting]) -> int:
        """Tokens of what waits for each lane that is free: none is to run dry beside a full one."""
        free = sum(not lane.running for lane in self._lanes)
        return math.ceil(sum(padded([one.size]) for one in waiting) / free)

    def _budget(self) -> int:
        return self._pace.batch_tokens(self._limits)

    async def _waited(self, waiting: Sequence[Waiting], budget: int) -> bool:
        """Where all fit into one batch, and more would, wait out the first's `batch_wait_ms`.

        Returns:
            Whether any was left.
        """
        waited_s = time.monotonic() - self._waiting[0].arrived
        left_s = self._limits.batch_wait_ms / 1_000 - waited_s
        sizes = [one.size for one in waiting]
        several_tasks = len({one.task for one in waiting}) > 1
        full = is_full(sizes, budget=budget) or self._lacks() <= 0  # then no more will come
        if left_s <= 0 or several_tasks or full:
            return False
        self._to_run.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(left_s):
                await self._to_run.wait()
        return True


def _waiting(job: Job) -> Waiting:
    return Waiting(_size(_left(job)), job.task.name, job.ask.priority)


def _left(job: Job) -> Prepared:
    left = job.left or job.prepared
    assert left is not None, "only tokenized requests wait for the device"
    return left


def _size(prepared: Prepared) -> Size:
    return Size(prepared.width, prepared.rows)

"""One model's road: tokenize, wait and pack, run, answer, each stage while the others work.

A stage that is idle takes at once whatever waits for it; while it is busy, more piles
up for the next turn. So one request alone waits for nobody, and many share every
thread hop, with no timer for either.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import NoReturn

import structlog

from events.inference import Busy, Expired
from events.models import Limits
from inference.batch import Size, Waiting, is_full, next_batch
from inference.job import Job, Outcome
from inference.models.model import Model
from inference.pace import Pace
from inference.run import run
from inference.thread import ModelThread
from inference.tokenize import tokenize

log = structlog.get_logger()

Send = Callable[[Sequence[tuple[Job, Outcome]]], Awaitable[None]]


class Pipeline:
    """The requests that a worker holds for one model, and what moves them on."""

    def __init__(
        self,
        model: Model,
        limits: Limits,
        send: Send,
        *,
        device: ModelThread | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Set up; `serve` starts it.

        Args:
            model: Loaded.
            limits: From its declaration.
            send: Answers requests; called with all that are done.
            device: The thread to run the model in: the one that loaded it.
            now: Unix seconds, the clock of deadlines.
        """
        self._model = model
        self._limits = limits
        self._send = send
        self._now = now
        self._device = device or ModelThread("run")
        self._tokenizer = ModelThread("tokenize")
        self._pace = Pace()
        self._held: set[Job] = set()  # every request from submit until it is answered
        self._arrived: list[Job] = []
        self._waiting: list[Job] = []  # tokenized, first come first
        self._running: Sequence[Job] = ()
        self._run_since = 0.0  # time.monotonic()
        self._done: list[tuple[Job, Outcome]] = []
        self._to_tokenize = asyncio.Event()
        self._to_run = asyncio.Event()
        self._to_send = asyncio.Event()
        self._emptied = asyncio.Event()

    @property
    def held(self) -> Iterable[Job]:
        """Every request that was taken and is not yet answered."""
        return tuple(self._held)

    def busy(self) -> Busy | None:
        """What to answer instead of taking another request; None where there is room."""
        if len(self._held) < self._limits.queue:
            return None
        elapsed_s = time.monotonic() - self._run_since
        wait_ms = self._pace.room_in_ms(len(self._running), elapsed_s)
        return Busy(queued=len(self._held), wait_ms=wait_ms)

    def submit(self, job: Job) -> None:
        """Take a request; ask `busy` first."""
        self._held.add(job)
        self._arrived.append(job)
        self._to_tokenize.set()

    async def serve(self) -> NoReturn:
        """Move requests on until cancelled."""
        try:
            async with asyncio.TaskGroup() as stages:
                stages.create_task(self._tokenize())
                stages.create_task(self._run())
                stages.create_task(self._answer())
        finally:
            self._tokenizer.close()
            self._device.close()
        raise AssertionError("the stages run until they are cancelled")

    async def drain(self, within_s: float) -> None:
        """Wait until all that was taken is answered; the caller takes no more.

        What has not been started when the time is over is answered `Busy`: nothing
        of it was executed, and another worker can take it. What is running then is
        abandoned, for a thread cannot be stopped.
        """
        try:
            async with asyncio.timeout(within_s):
                await self._empty()
        except TimeoutError:
            unstarted = [job for job in self._held if not job.started]
            self._held.difference_update(unstarted)
            self._arrived, self._waiting = [], []
            await self._send([(job, Busy(queued=0, wait_ms=0.0)) for job in unstarted])
            log.warning("drain_ended", sent_away=len(unstarted), abandoned=len(self._held))

    async def _empty(self) -> None:
        while self._held:
            self._emptied.clear()
            await self._emptied.wait()

    async def _tokenize(self) -> NoReturn:
        while True:
            await self._to_tokenize.wait()
            self._to_tokenize.clear()
            arrived, self._arrived = self._arrived, []
            jobs = self._without_expired(arrived)
            if not jobs:
                continue
            self._end(await self._tokenizer.call(tokenize, self._model, jobs))
            # a drain that ran out of time may have sent some away meanwhile
            self._waiting += [job for job in jobs if job.prepared and job in self._held]
            self._to_run.set()

    async def _run(self) -> NoReturn:
        while True:
            jobs = await self._next_batch()
            self._running, self._run_since = jobs, time.monotonic()
            ended = await self._device.call(run, self._model, jobs)
            self._pace.ran(len(jobs), time.monotonic() - self._run_since)
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
            chosen = next_batch(waiting, budget=self._limits.batch_tokens)
            if len(chosen) == len(waiting) and await self._grows(waiting):
                continue
            taken = [self._waiting[position] for position in chosen]
            for job in taken:
                job.started = True
            gone = set(chosen)
            self._waiting = [
                job for position, job in enumerate(self._waiting) if position not in gone
            ]
            return taken

    async def _grows(self, waiting: Sequence[Waiting]) -> bool:
        """Give a batch with room what `batch_wait_ms` grants the first in line."""
        waited_s = time.monotonic() - self._waiting[0].arrived
        left_s = self._limits.batch_wait_ms / 1_000 - waited_s
        sizes = [one.size for one in waiting]
        if left_s <= 0 or is_full(sizes, budget=self._limits.batch_tokens):
            return False
        self._to_run.clear()
        try:
            async with asyncio.timeout(left_s):
                await self._to_run.wait()
        except TimeoutError:
            return False
        return True

    async def _answer(self) -> NoReturn:
        while True:
            await self._to_send.wait()
            self._to_send.clear()
            done, self._done = self._done, []
            await self._send(done)
            self._held.difference_update(job for job, _ in done)
            if not self._held:
                self._emptied.set()

    def _without_expired(self, jobs: list[Job]) -> list[Job]:
        """Those whose callers still wait; the others are answered."""
        now = self._now()
        if all(job.ask.deadline > now for job in jobs):
            return jobs
        self._end([(job, Expired()) for job in jobs if job.ask.deadline <= now])
        return [job for job in jobs if job.ask.deadline > now]

    def _end(self, ended: Sequence[tuple[Job, Outcome]]) -> None:
        if not ended:
            return
        for job, _ in ended:
            job.started = True
        self._done += ended
        self._to_send.set()


def _waiting(job: Job) -> Waiting:
    assert job.prepared is not None, "only tokenized requests wait for the device"
    return Waiting(Size(job.prepared.width, job.prepared.rows), job.task.name, job.ask.priority)

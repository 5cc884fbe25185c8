"""One model's road: tokenize, wait, run, answer, each stage while the others work.

A stage that is idle takes at once whatever waits for it; while it is busy, more piles
up for the next turn. So one request alone waits for nobody, and many share every
thread hop, with no timer for either. How requests wait and run is `BatchPipeline`'s
and `StepPipeline`'s; all else is the same for both, and is here.
"""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import NoReturn
from uuid import UUID

import structlog

from events.inference import Busy, Ended, Expired
from events.models import Limits
from inference.job import Job, Outcome, Ran, Wrote
from inference.models.model import Tokenizes
from inference.pace import Pace
from inference.room import Room
from inference.share import apportion
from inference.thread import ModelThread
from inference.tokenize import tokenize

log = structlog.get_logger()

Send = Callable[[Sequence[tuple[Job, Outcome | Wrote]]], Awaitable[None]]


class Pipeline(ABC):
    """The requests that a worker holds for one model, and what moves them on."""

    def __init__(
        self,
        model: Tokenizes,
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
            send: Answers requests; called with all that there is to say.
            device: The thread to run the model in: the one that loaded it.
            now: Unix seconds, the clock of deadlines.
        """
        self._tokenizes = model
        self._limits = limits
        self._send = send
        self._now = now
        self._device = device or ModelThread("run")
        self._tokenizer = ModelThread("tokenize")
        self._pace = Pace()
        self._held: set[Job] = set()  # every request from submit until it is answered
        self._room = Room()
        self._arrived: list[Job] = []
        self._in_tokenizer: Sequence[Job] = ()
        self._waiting: list[Job] = []  # tokenized, first come first
        self._said: list[tuple[Job, Outcome | Wrote]] = []
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
        if self._has_room_for(held=len(self._held)) > 0:
            return None
        each_ms = self._pace.each_ms() if self._pace.is_known else 0.0
        return Busy(len(self._held), wait_ms=self._room_in_ms(), each_ms=each_ms)

    def submit(self, job: Job) -> None:
        """Take a request; ask `busy` first."""
        self._held.add(job)
        self._room.took_one()
        self._arrived.append(job)
        self._to_tokenize.set()

    def cancel(self, request_id: UUID) -> None:
        """Drop a request that nobody waits for any more, and all texts of it that are held here."""
        for job in self._held:
            if job.ask.request_id == request_id:
                if job.started:
                    self._stop(job)
                else:
                    self._take([job])
                    self._end([(job, Expired())])

    @abstractmethod
    def read(self, request_id: UUID, chunks: int) -> None:
        """Hear how many chunks of a stream its reader has taken, if it is held here."""

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

        What still waits when the time is over is answered `Busy`: nothing of it was
        answered or will be billed, and another worker can take it. What is running then is
        stopped if it can be, or abandoned, for a thread cannot be.
        """
        try:
            async with asyncio.timeout(within_s):
                await self._empty()
        except TimeoutError:
            sent_away = [job for job in self._held if not job.started or job.left]
            self._take(sent_away)
            for job in sent_away:
                job.ended = True
            self._held.difference_update(sent_away)
            await self._send([(job, Busy(queued=0, wait_ms=0.0)) for job in sent_away])
            stopped = await self._stop_all()
            log.warning(
                "drain_ended",
                sent_away=len(sent_away),
                stopped=stopped,
                abandoned=len(self._held),
            )

    @abstractmethod
    async def _run(self) -> NoReturn:
        """Take from `_waiting`, run, and `_end`."""

    @abstractmethod
    def _lacks(self) -> int:
        """How many requests more are enough work until another one has come from an edge.

        What runs has a claim to the device already; this is of what waits: `queue_ms` of
        the device's time, and never so little that the device would stand idle.
        """

    @abstractmethod
    def _room_in_ms(self) -> float:
        """When a full queue will have room, as far as can be told."""

    @abstractmethod
    def _stop(self, job: Job) -> None:
        """End a request that has been started, where that can be done."""

    @abstractmethod
    async def _stop_all(self) -> int:
        """End all that have been started, where that can be done; how many there were."""

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
            self._in_tokenizer = jobs
            ended = await self._tokenizer.call(tokenize, self._tokenizes, jobs)
            self._in_tokenizer = ()
            # some may have been cancelled meanwhile, or sent away by a drain
            self._end([(job, outcome) for job, outcome in ended if not job.started])
            self._waiting += [job for job in jobs if job.prepared and not job.started]
            self._to_run.set()

    async def _answer(self) -> NoReturn:
        while True:
            await self._to_send.wait()
            self._to_send.clear()
            said, self._said = self._said, []
            self._tell_of_room([job for job, outcome in said if isinstance(outcome, Ran | Ended)])
            await self._send(said)
            self._held.difference_update(
                job for job, outcome in said if not isinstance(outcome, Wrote)
            )
            if not self._held:
                self._emptied.set()

    def _has_room_for(self, *, held: int) -> int:
        return min(self._limits.queue - held, self._lacks())

    def _tell_of_room(self, answered: Sequence[Job]) -> None:
        """Let answers say to edges how many of those that wait there may come."""
        if answered:
            held = len(self._held) - len(answered)
            free = self._has_room_for(held=held)
            shares = apportion(self._room.tell(free, now=time.monotonic()), [1] * len(answered))
            for job, room in zip(answered, shares, strict=True):
                job.room, job.is_last = room, not held

    def _before_the_device(self) -> tuple[Sequence[Job], int]:
        """What waits for the device, and how many more are on their way to it."""
        return self._waiting, len(self._arrived) + len(self._in_tokenizer)

    def _without_expired(self, jobs: list[Job]) -> list[Job]:
        """Those whose callers still wait; the others are answered."""
        now = self._now()
        if all(job.ask.deadline > now for job in jobs):
            return jobs
        self._end([(job, Expired()) for job in jobs if job.ask.deadline <= now])
        return [job for job in jobs if job.ask.deadline > now]

    def _take(self, jobs: Sequence[Job]) -> None:
        """Take requests out of every line that they stand in."""
        for job in jobs:
            job.started = True
        taken = set(jobs)
        self._arrived = [job for job in self._arrived if job not in taken]
        self._waiting = [job for job in self._waiting if job not in taken]
        self._to_run.set()

    def _end(self, ended: Sequence[tuple[Job, Outcome]]) -> None:
        for job, _ in ended:
            job.started = job.ended = True
        self._say(ended)

    def _say(self, said: Sequence[tuple[Job, Outcome | Wrote]]) -> None:
        if said:
            self._said += said
            self._to_send.set()

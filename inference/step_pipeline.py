"""The road of a model that writes token by token: requests join and leave between steps."""

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, NoReturn
from uuid import UUID

import structlog

from events.models import Limits
from events.turns import Turns
from inference.attempt import Attempt
from inference.errors import NoRoom
from inference.job import Job, Outcome
from inference.models.model import Advance, Generator
from inference.pipeline import Pipeline, Send
from inference.share import apportion
from inference.slot import Slot
from inference.step import step
from inference.thread import ModelThread

log = structlog.get_logger()

UNREAD_S: Final = 60.0  # a stream that waits so long for its reader is ended
STOP_S: Final = 2.0  # for the step that runs when a drain's time is over
_LOOK_S: Final = 1.0  # between looks at those that wait while no step runs


class StepPipeline(Pipeline):
    """Steps as long as anybody has a slot; one leaves, and the first in line joins."""

    def __init__(
        self,
        model: Generator,
        limits: Limits,
        send: Send,
        *,
        device: ModelThread | None = None,
        now: Callable[[], float] = time.time,
        unread_s: float = UNREAD_S,
    ) -> None:
        """As `Pipeline`.

        Args:
            model: Loaded.
            limits: From its declaration.
            send: Answers requests; called with all that there is to say.
            device: The thread to run the model in: the one that loaded it.
            now: Unix seconds, the clock of deadlines.
            unread_s: How long a stream may wait for its reader.
        """
        super().__init__(model, limits, send, device=device, now=now)
        self._model = model
        self._turns = Turns()
        self._unread_s = unread_s
        self._slots: list[Slot] = []
        self._next: Job | None = None  # whose turn it is, until it has room
        self._freed = False  # whether memory came free since the last step

    def read(self, request_id: UUID, chunks: int) -> None:
        """Hear how many chunks of a stream its reader has taken, if it is held here."""
        for slot in self._slots:
            if slot.job.ask.request_id == request_id:
                slot.hear(chunks, now=time.monotonic())
                self._to_run.set()

    def _lacks(self) -> int:
        waiting, coming = self._before_the_device()
        rows = sum(job.prepared.rows for job in waiting if job.prepared) + coming
        taken = sum(slot.rows for slot in self._slots)
        free = 0 if self._is_stalled() else self._limits.slots - taken
        # one for the next slot that somebody leaves, and more where that is soon
        soon = max(1, math.ceil(self._limits.queue_ms / self._pace.each_ms()))
        return free + soon - rows

    def _room_in_ms(self) -> float:
        return self._pace.room_in_ms(1, 0.0)  # one leaves as often as the device serves one

    def _stop(self, job: Job) -> None:
        for slot in self._slots:
            if slot.job is job:
                slot.cancelled = True
                self._to_run.set()

    async def _stop_all(self) -> int:
        stopped = len(self._slots)
        for slot in self._slots:
            slot.cancelled = True
        self._to_run.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_S):
                await self._empty()
        return stopped

    async def _run(self) -> NoReturn:
        while True:
            self._leave()
            self._join()
            running = self._running()
            if running:
                await self._step(running)
            else:
                await self._nap()

    async def _step(self, running: Sequence[Slot]) -> None:
        # a function of its own: nothing that ends here is referred to when it returns
        for tried in await self._device.call(step, self._model, running):
            self._count(tried)

    def _leave(self) -> None:
        """Take the slots of those for whom there is nothing more to be done."""
        now = time.monotonic()
        for slot in tuple(self._slots):
            if slot.paused and now - slot.read_at >= self._unread_s:
                log.warning("stream_unread", request_id=str(slot.job.ask.request_id))
                slot.cancelled = True
            # whoever began to read a stream is not cut off; a whole answer can be too late
            late = not slot.job.ask.stream and slot.job.ask.deadline <= self._now()
            if slot.cancelled or late:
                self._vacate(slot, slot.give_up(now=now))

    def _is_stalled(self) -> bool:
        """Whether there is no memory for all that run."""
        return any(slot.stalled for slot in self._slots)

    def _join(self) -> None:
        """Give free slots to those whose turn it is."""
        self._waiting = self._without_expired(self._waiting)
        if self._is_stalled():
            return  # what memory comes free is theirs
        while self._waiting:
            if self._next is None or self._next.started:  # cancelled, or too late
                position = self._turns.next([job.ask.priority for job in self._waiting])
                self._next = self._waiting[position]
            joining = Slot(self._next)
            taken = sum(slot.rows for slot in self._slots)
            if taken and taken + joining.rows > self._limits.slots:
                return  # nobody overtakes it, or who wants several would wait for ever
            self._take([joining.job])
            self._slots.append(joining)
            self._next = None

    def _count(self, tried: Attempt[Slot, Advance]) -> None:
        """Note what a step did, and what it cost each: the time divided by their tokens."""
        now = time.monotonic()
        tokens = [one.tokens if isinstance(one, Advance) else 0 for one in tried.outcomes]
        shares = apportion(round(1e6 * tried.seconds), tokens)
        for slot, advance, device_us in zip(tried.items, tried.outcomes, shares, strict=True):
            if isinstance(advance, NoRoom) and self._can_wait(slot):
                slot.stall()
                continue
            if slot.stalled:  # and has gone on: perhaps the next one can, too
                slot.stalled, self._freed = False, True
            wrote, ended = slot.advance(
                advance, seconds=tried.seconds, device_us=device_us, now=now
            )
            self._say([(slot.job, chunk) for chunk in wrote])
            if ended is not None:
                self._vacate(slot, ended)
                self._pace.ran(1, slot.device_us / 1e6)

    def _running(self) -> list[Slot]:
        """Those of the next step: of those who want memory the first, where some came free."""
        able = [slot for slot in self._slots if not slot.paused]
        going = [slot for slot in able if not slot.stalled]
        if self._freed or all(slot.stalled for slot in self._slots):
            going += [slot for slot in able if slot.stalled][:1]
        self._freed = False
        return going

    def _can_wait(self, slot: Slot) -> bool:
        """Whether others have memory that may come free for this one."""
        others = [other for other in self._slots if other is not slot]
        return any(not other.stalled for other in others) or (bool(others) and not slot.stalled)

    def _vacate(self, slot: Slot, outcome: Outcome) -> None:
        slot.draft = None  # what the model keeps for it is free before the next one joins
        self._slots.remove(slot)
        self._freed = True
        self._end([(slot.job, outcome)])

    async def _nap(self) -> None:
        """Until something is to be done; those who wait may be too late any moment."""
        self._to_run.clear()
        patience = _LOOK_S if self._slots or self._waiting else None
        with suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await self._to_run.wait()

"""One request that a generator is writing for, and how far its reader is."""

from typing import Any, Literal

from msgspec import Struct
from msgspec.structs import replace

from events.inference import WINDOW, Ended, Expired
from events.usage import Quantities
from inference.job import Job, Outcome, Ran, Wrote, outcome_of, timing
from inference.models.model import Advance


class Slot(Struct, eq=False):
    """A place in the generator's steps, while one request has it: a slot for each of its texts."""

    job: Job
    draft: Any = None  # the model's, from its first step on
    cancelled: bool = False
    stalled: bool = False  # for want of memory, until it has gone on again
    rows: int = 0  # texts that are being written for it: it takes as many slots
    chunks: int = 0  # that were sent
    read: int = 0  # of these, that the reader took
    read_at: float = 0.0  # time.monotonic() of the last sign that somebody reads
    quantities: Quantities = Quantities()
    compute_s: float = 0.0  # of all steps that it was in
    device_us: int = 0  # its share of them

    def __post_init__(self) -> None:
        assert self.job.prepared is not None, "only tokenized requests get a slot"
        self.rows = self.job.prepared.rows

    @property
    def paused(self) -> bool:
        """Whether its reader is so far behind that it has to wait."""
        # not before a step that would make it so: of many texts it makes many, and the reader
        # says only now and then how far it is
        return self.chunks - self.read >= WINDOW

    def stall(self) -> None:
        """Wait for memory; what was only read can be read again, and leaves room meanwhile."""
        self.stalled = True
        if not self.quantities.output_tokens:
            self.draft = None

    def hear(self, chunks: int, *, now: float) -> None:
        """Note that the reader has taken so many chunks."""
        self.read = max(self.read, min(chunks, self.chunks))
        self.read_at = now

    def advance(
        self, advance: Advance | Exception, *, seconds: float, device_us: int, now: float
    ) -> tuple[list[Wrote], Outcome | None]:
        """Count one step.

        Returns:
            The chunks that it made, and what became of the request, if it is finished.
        """
        self.compute_s += seconds
        self.device_us += device_us
        if isinstance(advance, Exception):
            return [], outcome_of(self.job, advance)
        self.quantities = replace(advance.quantities, device_ms=self.device_us // 1_000)
        self.rows = advance.rows
        wrote = []
        if self.job.ask.stream and advance.pieces:
            device_ms = self.quantities.device_ms
            for piece in advance.pieces:
                used = replace(piece.quantities, device_ms=device_ms)
                wrote.append(Wrote(self.chunks, piece.said, used))
                self.chunks += 1
            if self.paused:
                self.read_at = now  # a silence begins now, if it is one
        if advance.result is None:
            return wrote, None
        if self.job.ask.stream:
            return wrote, self._ended(advance.reason, now=now)
        times = timing(self.job, now=now, compute_s=self.compute_s)
        return wrote, Ran(advance.result, self.quantities, times)

    def give_up(self, *, now: float) -> Outcome:
        """What a request is told that is not finished and will not be."""
        if self.job.ask.stream:
            return self._ended("cancelled", now=now)
        return Expired(self.quantities) if self.compute_s else Expired()

    def _ended(self, reason: Literal["stop", "length", "cancelled"], *, now: float) -> Ended:
        times = timing(self.job, now=now, compute_s=self.compute_s)
        return Ended(reason, self.chunks, self.quantities, times)

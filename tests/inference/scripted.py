"""A model whose every move a test decides, and the requests to put to it."""

import asyncio
import threading
import time
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from events.ids import new_id
from events.inference import Ask
from events.models import Limits
from events.tasks import echo
from events.tasks.echo import EchoInput, EchoResult
from events.usage import Quantities
from inference.batch_pipeline import BatchPipeline
from inference.errors import InputRefused
from inference.job import Job, Outcome, Wrote
from inference.models.model import Answer, Prepared
from tests.waiting import PATIENCE_S, until


class Scripted:
    """Echoes in capitals; some texts make it misbehave, by their first word.

    ``poison`` breaks a run, ``broken`` breaks tokenizing, ``rude`` is refused; while
    `gate` is closed, every run waits.
    """

    tasks = frozenset({"echo"})

    def __init__(self) -> None:
        self.swell = 1  # how often a text is repeated in its answer
        self.token_s = 0.0  # that a run takes for each token
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)  # one for each run that began
        self.tokenized: list[str] = []
        self.batches: list[list[str]] = []

    def tokenize(self, _task: str, inputs: Sequence[Any]) -> Sequence[Prepared | InputRefused]:
        texts = [value.text for value in inputs]
        self.tokenized += texts
        if "broken" in map(_first, texts):
            raise ValueError(texts)
        return [
            InputRefused("rude", "Mind your manners.", param="text")
            if _first(text) == "rude"
            else Prepared(width=len(text.split()), data=text)
            for text in texts
        ]

    def run(self, _task: str, prepared: Sequence[Prepared]) -> Sequence[Answer | InputRefused]:
        texts: list[str] = [one.data for one in prepared]
        self.batches.append(texts)
        self.entered.release()
        assert self.gate.wait(timeout=PATIENCE_S)
        time.sleep(self.token_s * sum(one.width for one in prepared))
        if any("poison" in map(_first, text.splitlines()) for text in texts):
            raise RuntimeError(texts)
        return [
            Answer(
                EchoResult(text=text.upper() * self.swell), Quantities(input_characters=len(text))
            )
            for text in texts
        ]

    async def has_begun(self) -> None:
        """Until one more run has begun."""
        await until(lambda: self.entered.acquire(blocking=False))


class Lined(Scripted):
    """Reads each line of a text by itself, some now and others later."""

    def tokenize(self, task: str, inputs: Sequence[Any]) -> Sequence[Prepared | InputRefused]:
        return [
            one if isinstance(one, InputRefused) else _lined(one.data)
            for one in super().tokenize(task, inputs)
        ]

    def cut(self, prepared: Prepared, tokens: int) -> tuple[Prepared, Prepared]:
        lines: list[str] = prepared.data.split("\n")
        first = max(1, tokens // prepared.width)
        assert first < prepared.rows == len(lines)
        return _lined("\n".join(lines[:first])), _lined("\n".join(lines[first:]))

    def read(self, task: str, parts: Sequence[Prepared]) -> Sequence[Any]:
        return self.run(task, parts)

    def answer(self, _task: str, prepared: Prepared, found: Sequence[Any]) -> Answer:
        text = "\n".join(one.result.text for one in found)
        return Answer(EchoResult(text=text), Quantities(input_characters=len(prepared.data)))


class Wide(Lined):
    """Runs two batches side by side."""

    lanes = 2

    def __init__(self) -> None:
        super().__init__()
        self.threads: set[int] = set()  # that entered

    def enter(self) -> None:
        self.threads.add(threading.get_ident())


def _lined(text: str) -> Prepared:
    lines = text.split("\n")
    return Prepared(max(len(line.split()) for line in lines), text, rows=len(lines))


def _first(text: str) -> str:
    return text.partition(" ")[0]


def an_ask(text: str, *, priority: int = 0, deadline: float | None = None) -> Ask:
    return Ask(
        request_id=new_id(),
        account_id=new_id(),
        deadline=time.time() + PATIENCE_S if deadline is None else deadline,
        input=echo.TASK.encode(EchoInput(text=text)),
        priority=priority,
    )


class Road:
    """A pipeline around a scripted model, and what became of each text."""

    def __init__(self, limits: Limits | None = None, model: Scripted | None = None) -> None:
        self.model = model or Scripted()
        self.time = 1_000.0  # the clock of deadlines
        self.outcomes: dict[str, Outcome] = {}
        self.order: list[str] = []
        self.pipeline = BatchPipeline(
            self.model, limits or Limits(), self._send, now=lambda: self.time
        )
        self._ended = asyncio.Event()

    async def _send(self, ended: Sequence[tuple[Job, Outcome | Wrote]]) -> None:
        for job, outcome in ended:
            assert not isinstance(outcome, Wrote)
            assert job.value.text not in self.outcomes, "answered twice"
            self.outcomes[job.value.text] = outcome
            self.order.append(job.value.text)
        self._ended.set()

    def submit(self, *texts: str, priority: int = 0, deadline: float = 2_000.0) -> list[UUID]:
        asks = [an_ask(text, priority=priority, deadline=deadline) for text in texts]
        for text, ask in zip(texts, asks, strict=True):
            value = EchoInput(text=text)
            job = Job(ask, "scripted", echo.TASK, value, "inbox", time.monotonic())
            self.pipeline.submit(job)
        return [ask.request_id for ask in asks]

    async def ended(self, *texts: str) -> None:
        """Until each of these has its outcome."""
        async with asyncio.timeout(PATIENCE_S):
            while not self.outcomes.keys() >= set(texts):
                self._ended.clear()
                await self._ended.wait()

    async def tokenized(self, *texts: str) -> None:
        """Until each of these waits for the device."""
        wanted = set(texts)
        await until(
            lambda: wanted <= {job.value.text for job in self.pipeline.held if job.prepared}
        )

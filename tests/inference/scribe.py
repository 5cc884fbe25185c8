"""A generator whose every step a test decides, and requests to put to it."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from uuid import UUID
from weakref import WeakSet

import pytest
from msgspec import Struct

from events.ids import new_id
from events.inference import WINDOW, Ask
from events.models import Limits
from events.tasks import generation
from events.tasks.generation import GenerationInput, GenerationPiece, GenerationResult
from events.usage import Quantities
from inference.errors import DeviceFull, InputRefused
from inference.job import Job, Outcome, Wrote
from inference.models.model import Advance, Piece, Prepared
from inference.step_pipeline import UNREAD_S, StepPipeline
from tests.waiting import PATIENCE_S, until

LONG = " ".join(["on"] * 4 * WINDOW)  # more than a reader may be behind


class Draft(Struct, eq=False, weakref=True):
    text: str
    words: list[str]
    rows: int
    written: int = 0


class Scribe:
    """Copies its input, a word a step; some words make it misbehave.

    ``poison`` breaks every step that would write it, ``sour`` is an error in its own
    place, ``rude`` is refused, ``fat`` has room beside one other draft; while `gate` is
    closed, every step waits.
    """

    tasks = frozenset({"generation"})

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)  # one for each step that began
        self.steps: list[list[str]] = []  # the texts that were in each
        self.wrote: list[str] = []  # all words, whoever wanted them
        self.pause_s = 0.0  # of each step
        self.drafts: WeakSet[Draft] = WeakSet()  # that anybody holds

    def tokenize(
        self, _task: str, inputs: Sequence[GenerationInput]
    ) -> Sequence[Prepared | InputRefused]:
        return [
            InputRefused("rude", "Mind your manners.", param="text")
            if value.text == "rude"
            else Prepared(len(value.text.split()), value.text, rows=value.sequences)
            for value in inputs
        ]

    def join(self, prepared: Prepared) -> Draft:
        draft = Draft(prepared.data, prepared.data.split(), prepared.rows)
        self.drafts.add(draft)
        return draft

    def step(self, drafts: Sequence[Draft]) -> Sequence[Advance | Exception]:
        self.steps.append([draft.text for draft in drafts])
        self.entered.release()
        assert self.gate.wait(timeout=PATIENCE_S)
        time.sleep(self.pause_s)
        if any(draft.words[draft.written] == "poison" for draft in drafts):
            raise RuntimeError
        if any(draft.words[draft.written] == "fat" for draft in drafts) and len(self.drafts) > 2:
            raise DeviceFull
        return [self._advance(draft) for draft in drafts]

    def _advance(self, draft: Draft) -> Advance | Exception:
        word = draft.words[draft.written]
        if word == "sour":
            return ValueError()
        draft.written += 1
        self.wrote.append(word)
        finished = draft.written == len(draft.words)
        used = Quantities(input_tokens=len(draft.words), output_tokens=draft.written)
        return Advance(
            pieces=[Piece(GenerationPiece(text=word if finished else word + " "), used)],
            quantities=used,
            tokens=1,
            rows=draft.rows,
            result=GenerationResult(
                generated_text=draft.text,
                nb_generated_tokens=draft.written,
                nb_input_tokens=len(draft.words),
            )
            if finished
            else None,
        )

    async def has_begun(self) -> None:
        """Until one more step has begun."""
        await until(lambda: self.entered.acquire(blocking=False))


def an_ask(
    text: str, *, stream: bool = False, priority: int = 0, deadline: float | None = None
) -> Ask:
    return Ask(
        request_id=new_id(),
        account_id=new_id(),
        deadline=time.time() + PATIENCE_S if deadline is None else deadline,
        input=generation.TASK.encode(GenerationInput(text=text, stream=stream)),
        priority=priority,
        stream=stream,
    )


class Desk:
    """A pipeline around a scribe, and what each text's caller was told."""

    def __init__(self, limits: Limits, *, unread_s: float) -> None:
        self.model = Scribe()
        self.time = 1_000.0  # the clock of deadlines
        self.outcomes: dict[str, Outcome] = {}
        self.chunks: dict[str, list[Wrote]] = {}
        self.order: list[str] = []
        self.pipeline = StepPipeline(
            self.model, limits, self._send, now=lambda: self.time, unread_s=unread_s
        )
        self._told = asyncio.Event()

    async def _send(self, said: Sequence[tuple[Job, Outcome | Wrote]]) -> None:
        for job, outcome in said:
            text = job.value.text
            assert text not in self.outcomes, "answered twice"
            if isinstance(outcome, Wrote):
                self.chunks.setdefault(text, []).append(outcome)
            else:
                self.outcomes[text] = outcome
                self.order.append(text)
        self._told.set()

    def submit(
        self,
        text: str,
        *,
        stream: bool = False,
        priority: int = 0,
        deadline: float = 2_000.0,
        sequences: int = 1,
    ) -> UUID:
        ask = an_ask(text, stream=stream, priority=priority, deadline=deadline)
        value = GenerationInput(text=text, num_return_sequences=sequences)
        job = Job(ask, "scribe", generation.TASK, value, "inbox", time.monotonic())
        self.pipeline.submit(job)
        return ask.request_id

    async def ended(self, *texts: str) -> None:
        """Until each of these has its outcome."""
        async with asyncio.timeout(PATIENCE_S):
            while not self.outcomes.keys() >= set(texts):
                self._told.clear()
                await self._told.wait()

    async def tokenized(self, *texts: str) -> None:
        """Until each of these waits for a slot, or has one."""
        await until(
            lambda: set(texts) <= {job.value.text for job in self.pipeline.held if job.prepared}
        )

    def text(self, text: str) -> str:
        """All pieces of a stream."""
        return "".join(chunk.piece.text for chunk in self.chunks[text])  # type: ignore[attr-defined] # a GenerationPiece


@asynccontextmanager
async def a_desk(*, slots: int = 4, unread_s: float = UNREAD_S) -> AsyncIterator[Desk]:
    desk = Desk(Limits(slots=slots), unread_s=unread_s)
    serving = asyncio.create_task(desk.pipeline.serve())
    yield desk
    desk.model.gate.set()
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving

"""How much of its device a model should be given at a time: batch sizes against latency."""

import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from events.tasks.task import Task
from inference.errors import InputRefused
from inference.models.model import Advance, Generator, Model, Parallel, Prepared, Tokenizes

WORDS: Final = (8, 32, 128)  # of the texts that are measured
SIDE_BY_SIDE: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256)
ENOUGH_S: Final = 2.0  # larger batches are not tried where one takes as long
TIMES: Final = 3  # of which the median counts
STEPS: Final = 8
WITHIN: Final = 0.95  # of the best throughput: what is left costs latency and gains little
SLOWER: Final = 3.0  # a step may be than that of a text alone: all slots are paid for by each text

_VOCABULARY: Final = ("the", "old", "gate", "keeper", "counts", "each", "coin", "twice", "a", "day")
_FIELDS: Final = ("text", "context", "input")  # that a task calls what is read


class Measured(Struct, frozen=True):
    """One size on the device."""

    words: int  # of each text
    side_by_side: int  # requests
    tokens: int  # padded, of a forward pass; of a generator's step, as many as requests
    ms: float  # of one forward pass, or of one step
    chosen: bool = False

    @property
    def rate(self) -> float:
        """Tokens a second."""
        return 1_000 * self.tokens / self.ms


def measure_batches(model: Model, task: Task) -> Iterator[Measured]:
    """Time forward passes; its `run` must not cut these batches into smaller ones."""
    if isinstance(model, Parallel):
        model.enter()  # as the thread of a lane
    for words in WORDS:
        prepared = _prepared(model, task, words)
        for size in SIDE_BY_SIDE:
            batch = [prepared] * size

            def run(batch: Sequence[Prepared] = batch) -> object:
                return model.run(task.name, batch)

            run()  # once for what is allocated the first time
            seconds = statistics.median(_timed(run) for _ in range(TIMES))
            yield Measured(words, size, size * prepared.tokens, 1_000 * seconds)
            if seconds > ENOUGH_S:
                break


def measure_slots(load: Callable[[int], Generator], task: Task) -> Iterator[Measured]:
    """Time steps of texts that are written side by side, once their inputs are read.

    Args:
        load: Gives the model with so many slots: its steps are as wide as it has slots.
        task: One that it does.
    """
    words = WORDS[1]
    for size in SIDE_BY_SIDE:
        model = load(size)
        prepared = _prepared(model, task, words)
        drafts = [model.join(prepared) for _ in range(size)]
        reading = True
        while reading:
            reading = any(one.quantities.output_tokens == 0 for one in _step(model, drafts))
        times = []
        for _ in range(STEPS):
            began = time.perf_counter()
            finished = [advance.result is not None for advance in _step(model, drafts)]
            times.append(time.perf_counter() - began)
            if any(finished):
                break
        seconds = statistics.median(times)
        yield Measured(words, size, size, 1_000 * seconds)
        if seconds > ENOUGH_S:
            break
        del model, drafts  # the device may have no room for two


def choose(measured: Sequence[Measured], *, slower: float = math.inf) -> list[Measured]:
    """Mark, for each length, the smallest size within 5 % of the best throughput.

    Args:
        measured: Smaller sizes first.
        slower: What takes so many times as long as the smallest size is out of the question.
    """
    marked = []
    for words in dict.fromkeys(one.words for one in measured):
        of_length = [one for one in measured if one.words == words]
        bearable = [one for one in of_length if one.ms <= slower * of_length[0].ms]
        enough = WITHIN * max(one.rate for one in bearable)
        best = next(one for one in bearable if one.rate >= enough)
        marked += [replace(one, chosen=one is best) for one in of_length]
    return marked


def limit(marked: Sequence[Measured]) -> int:
    """The tokens, or slots, that are enough for each length: the most of those chosen."""
    return max(one.tokens for one in marked if one.chosen)


def _prepared(model: Tokenizes, task: Task, words: int) -> Prepared:
    text = " ".join(_VOCABULARY[number % len(_VOCABULARY)] for number in range(words))
    (prepared,) = model.tokenize(task.name, [_input(task, text)])
    if isinstance(prepared, InputRefused):
        raise prepared
    return prepared


def _input(task: Task, text: str) -> Any:  # noqa: ANN401 - what the task takes
    """The task's example, with this text in place of its own."""
    field = next((name for name in _FIELDS if hasattr(task.example, name)), None)
    if field is not None:
        return replace(task.example, **{field: text})
    sentences = getattr(task.example, "sentences", None)
    assert sentences is not None, f"{task.name} takes no text that we know of"
    return replace(task.example, sentences=type(sentences)([text] * len(sentences)))


def _step(model: Generator, drafts: Sequence[Any]) -> Sequence[Advance]:
    advances = []
    for advance in model.step(drafts):
        if isinstance(advance, Exception):
            raise advance
        advances.append(advance)
    return advances


def _timed(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began

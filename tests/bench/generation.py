"""Generated tokens a second: requests that join and leave, and static batches."""

import asyncio
import random
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from events.ids import new_id
from events.inference import Ask
from events.models import Limits, read_models
from events.tasks import generation
from events.tasks.generation import GenerationInput
from inference.job import Job, Outcome, Ran, Wrote
from inference.models import FOLDERS, load
from inference.models.causal_lm.generator import CausalLM
from inference.step_pipeline import StepPipeline
from tests.bench.table import print_table

MODEL: Final = "SmolLM2-135M-Instruct"
MODELS_FILE: Final = Path(__file__).parents[2] / "deploy" / "models.toml"
REQUESTS: Final = 24
SIDE_BY_SIDE: Final = (1, 4, 8, 16)
TOKENS: Final = 24  # of each, where all are alike
LONG: Final = (8, 600)  # requests, and words of each
STATIC: Final = (16,)  # a batch
ROUNDS: Final = 5
WORDS: Final = ("the", "old", "gate", "keeper", "counts", "each", "coin", "twice", "a", "day")


def mixed() -> Sequence[GenerationInput]:
    """Short and long inputs, short and long answers, in no order."""
    chosen = random.Random(1)
    return [an_input(chosen.randint(5, 120), chosen.randint(8, 96)) for _ in range(REQUESTS)]


def alike(count: int) -> Sequence[GenerationInput]:
    return [an_input(20, TOKENS)] * count


def long() -> Sequence[GenerationInput]:
    """Prompts that take longer to read than their answers to write."""
    count, words = LONG
    return [an_input(words + number, TOKENS) for number in range(count)]


def an_input(words: int, tokens: int) -> GenerationInput:
    text = " ".join(WORDS[number % len(WORDS)] for number in range(words))
    return GenerationInput(text=text, temperature=0, max_length=tokens)


class Static:
    """transformers' `generate`: a batch is padded on the left, and runs until its longest ends."""

    def __init__(self, dtype: torch.dtype) -> None:
        folder = FOLDERS / MODEL
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self.model: Any = AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, local_files_only=True
        )

    def run(self, inputs: Sequence[GenerationInput], *, batch: int) -> float:
        """Seconds for all of them."""
        started = time.perf_counter()
        for first in range(0, len(inputs), batch):
            some = inputs[first : first + batch]
            longest = max(value.new_tokens for value in some)
            self.model.generate(
                **self.tokenizer([value.text for value in some], padding=True, return_tensors="pt"),
                do_sample=False,
                min_new_tokens=longest,  # each is to say as much as it is asked for
                max_new_tokens=longest,
            )
        return time.perf_counter() - started


class Stepped:
    """Our worker's pipeline, without the wire."""

    def __init__(self) -> None:
        self.declared = read_models(MODELS_FILE)[MODEL]
        model = load(self.declared)
        assert isinstance(model, CausalLM)
        model._ends = frozenset()  # noqa: SLF001 - each is to say as much as it is asked for
        self.model = model

    async def run(self, inputs: Sequence[GenerationInput]) -> float:
        """Seconds for all of them."""
        left = len(inputs)
        done = asyncio.Event()

        async def send(said: Sequence[tuple[Job, Outcome | Wrote]]) -> None:
            nonlocal left
            for job, outcome in said:
                assert isinstance(outcome, Ran), outcome
                assert outcome.quantities.output_tokens == job.value.new_tokens
                left -= 1
            if not left:
                done.set()

        pipeline = StepPipeline(self.model, Limits(slots=self.declared.limits.slots), send)
        serving = asyncio.create_task(pipeline.serve())
        started = time.perf_counter()
        for value in inputs:
            ask = Ask(new_id(), new_id(), time.time() + 3_600, b"")
            pipeline.submit(Job(ask, MODEL, generation.TASK, value, "", time.monotonic()))
        await done.wait()
        took = time.perf_counter() - started
        serving.cancel()
        await asyncio.wait([serving])
        return took


async def measure_generation() -> None:
    """Print the tables."""
    stepped = Stepped()
    static = Static(stepped.model._model.dtype)  # noqa: SLF001 - as it was chosen
    for warm in (static.run(alike(16), batch=16), await stepped.run(alike(16))):
        assert warm
    await _measure_mixed(static, stepped)
    await _measure_alike(static, stepped)
    await _measure_long(static, stepped)


async def _measure_alike(static: Static, stepped: Stepped) -> None:
    rows = []
    for count in SIDE_BY_SIDE:
        times = [
            (static.run(alike(count), batch=count), await stepped.run(alike(count)))
            for _ in range(ROUNDS)
        ]
        tokens = count * TOKENS
        rates = [
            statistics.median(tokens / took for took in took_by)
            for took_by in zip(*times, strict=True)
        ]
        ratio = statistics.median(theirs / ours for theirs, ours in times)
        rows.append((str(count), f"{rates[0]:.0f}", f"{rates[1]:.0f}", f"{ratio:.2f}"))
    print_table(
        f"{TOKENS} tokens of each request, tokens/s, median of {ROUNDS} interleaved rounds",
        ("requests", "generate", "side by side", "ratio"),
        rows,
    )


async def _measure_long(static: Static, stepped: Stepped) -> None:
    inputs = long()
    times = [(static.run(inputs, batch=LONG[0]), await stepped.run(inputs)) for _ in range(ROUNDS)]
    ratios = [theirs / ours for theirs, ours in times]
    theirs, ours = (statistics.median(some) for some in zip(*times, strict=True))
    print_table(
        f"{LONG[0]} prompts of {LONG[1]} words for {TOKENS} tokens each, seconds, "
        f"median of {ROUNDS} interleaved rounds",
        ("generate", "side by side", "ratio", "range"),
        [
            (
                f"{theirs:.1f}",
                f"{ours:.1f}",
                f"{statistics.median(ratios):.2f}",
                f"{min(ratios):.2f} to {max(ratios):.2f}",
            )
        ],
    )


async def _measure_mixed(static: Static, stepped: Stepped) -> None:
    inputs = mixed()
    useful = sum(value.new_tokens for value in inputs)
    names = [f"static batches of {batch}" for batch in STATIC] + ["joining and leaving"]
    rounds = []
    for _ in range(ROUNDS):
        times = [static.run(inputs, batch=batch) for batch in STATIC]
        rounds.append([*times, await stepped.run(inputs)])
    rows = []
    for name, seconds in zip(names, zip(*rounds, strict=True), strict=True):
        ratios = [base[len(STATIC) - 1] / took for base, took in zip(rounds, seconds, strict=True)]
        rate = statistics.median(useful / took for took in seconds)
        rows.append(
            (
                name,
                f"{rate:.0f}",
                f"{statistics.median(ratios):.2f}",
                f"{min(ratios):.2f} to {max(ratios):.2f}",
            )
        )
    print_table(
        f"{REQUESTS} requests of 5 to 120 words for 8 to 96 tokens, {useful:,} in all, "
        f"median of {ROUNDS} interleaved rounds",
        ("", "useful tokens/s", f"of batches of {STATIC[-1]}", "range"),
        rows,
    )


if __name__ == "__main__":
    asyncio.run(measure_generation())

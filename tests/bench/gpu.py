"""What a GPU does: embeddings a second, tokens a second, time to the first token.

Random weights serve for speed: a language model of two billion parameters that nobody has
to download. Without a GPU it says so, and measures nothing.
"""

import asyncio
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch
from msgspec import Struct
from msgspec.structs import replace
from transformers import LlamaConfig, LlamaForCausalLM

from events.ids import new_id
from events.inference import Ask, Ended
from events.models import Limits, ModelDeclared, read_models
from events.tasks import Task, embeddings, generation
from events.tasks.embeddings import EmbeddingsInput
from events.tasks.generation import GenerationInput
from events.tasks.task import TaskInput
from inference.batch_pipeline import BatchPipeline
from inference.job import Job, Outcome, Ran, Wrote
from inference.models import FOLDERS, load
from inference.models.model import Generator, Prepared
from inference.models.sentence_transformers.encoder import SentenceEncoder
from inference.pipeline import Pipeline, Send
from inference.step_pipeline import StepPipeline
from tests.bench.generation import WORDS
from tests.bench.table import print_table

MODELS_FILE: Final = Path(__file__).parents[2] / "deploy" / "models.toml"
SENTENCES: Final = 20_000
LENGTH: Final = 24  # words of each
BATCHES: Final = (64, 256, 1_024, 4_096)  # of the offline loop: its best counts
SIDE_BY_SIDE: Final = (1, 16, 64, 256)
TOKENS: Final = 128  # of each request
ROUNDS: Final = 3
PARAMETERS: Final = "2.0 billion random parameters in bfloat16"


async def measure_gpu() -> None:
    """Print the tables."""
    if not torch.cuda.is_available():
        print("\nno GPU: nothing to measure")
        return
    print(f"\n{torch.cuda.get_device_name()}, torch {torch.__version__}")
    await _measure_embeddings()
    with tempfile.TemporaryDirectory() as folder:
        _write(Path(folder))
        await _measure_tokens(Path(folder))


async def _measure_embeddings() -> None:
    declared = read_models(MODELS_FILE)["all-MiniLM-L6-v2"]
    limits = replace(declared.limits, batch_tokens=131_072, queue=SENTENCES)
    model = load(replace(declared, device="cuda", limits=limits))
    assert isinstance(model, SentenceEncoder)
    inputs = [EmbeddingsInput(sentences=[_words(number, LENGTH)]) for number in range(SENTENCES)]
    offline = max(_offline(model, inputs, batch=batch) for batch in BATCHES)
    rates = []
    for _ in range(ROUNDS):
        served = await _serve(partial(BatchPipeline, model, limits), embeddings.TASK, inputs)
        rates.append(SENTENCES / served.seconds)
    rate = statistics.median(rates)
    print_table(
        f"{SENTENCES:,} sentences of {LENGTH} words",
        ("", "embeddings/s", "of the offline maximum"),
        [
            ("offline, its best batch", f"{offline:,.0f}", "100 %"),
            ("the worker's pipeline", f"{rate:,.0f}", f"{rate / offline:.0%}"),
        ],
    )


def _offline(model: SentenceEncoder, inputs: Sequence[EmbeddingsInput], *, batch: int) -> float:
    """Embeddings a second of a loop that tokenizes and runs one batch after the other."""
    started = time.perf_counter()
    for first in range(0, len(inputs), batch):
        prepared = model.tokenize("embeddings", inputs[first : first + batch])
        model.run("embeddings", [one for one in prepared if isinstance(one, Prepared)])
    return len(inputs) / (time.perf_counter() - started)


async def _measure_tokens(folder: Path) -> None:
    rows = []
    for count in SIDE_BY_SIDE:
        limits = Limits(slots=count)
        declared = ModelDeclared(
            name="random",
            source=f"causal-lm:{folder}",
            tasks=("generation",),
            device="cuda",
            limits=limits,
        )
        model = load(declared)
        assert isinstance(model, Generator)
        inputs = [
            GenerationInput(text=_words(number, LENGTH), seed=number, max_length=TOKENS)
            for number in range(count)
        ]
        found = [
            await _serve(partial(StepPipeline, model, limits), generation.TASK, inputs)
            for _ in range(ROUNDS)
        ]
        rate = statistics.median(one.tokens / one.seconds for one in found)
        first = statistics.median(one.first_s for one in found)
        rows.append((str(count), f"{rate:,.0f}", f"{1e3 * first:.0f}"))
        del model  # before the next needs the room
    print_table(
        f"up to {TOKENS} tokens of each request, {PARAMETERS}",
        ("requests", "tokens/s", "ms to the first token, median"),
        rows,
    )


class Served(Struct, frozen=True):
    """What came of serving many requests that came at once."""

    seconds: float
    first_s: float  # until a request heard first, the median
    tokens: int  # that were generated


async def _serve(
    make: Callable[[Send], Pipeline], task: Task, inputs: Sequence[TaskInput]
) -> Served:
    """Answer all inputs, as streams where the task has pieces."""
    left, tokens = len(inputs), 0
    first: dict[Job, float] = {}
    done = asyncio.Event()

    async def send(said: Sequence[tuple[Job, Outcome | Wrote]]) -> None:
        nonlocal left, tokens
        for job, outcome in said:
            first.setdefault(job, time.monotonic() - job.arrived)
            if isinstance(outcome, Wrote):
                pipeline.read(job.ask.request_id, outcome.index + 1)
                continue
            assert isinstance(outcome, Ran | Ended), outcome
            left, tokens = left - 1, tokens + outcome.quantities.output_tokens
        if not left:
            done.set()

    pipeline = make(send)
    serving = asyncio.create_task(pipeline.serve())
    started = time.perf_counter()
    for value in inputs:
        ask = Ask(new_id(), new_id(), time.time() + 3_600, b"", stream=task.piece is not None)
        pipeline.submit(Job(ask, "measured", task, value, "", time.monotonic()))
    await done.wait()
    took = time.perf_counter() - started
    serving.cancel()
    await asyncio.wait([serving])
    return Served(took, statistics.median(first.values()), tokens)


def _write(folder: Path) -> None:
    """A language model of random weights that speaks SmolLM2's tokens."""
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=49_152,
        hidden_size=2_048,
        intermediate_size=8_192,
        num_hidden_layers=30,
        num_attention_heads=32,
        num_key_value_heads=8,
        max_position_embeddings=8_192,
        bos_token_id=1,
        eos_token_id=2,
    )
    with torch.device("cuda"):
        model: Any = LlamaForCausalLM(config)
    model.to("cpu", torch.bfloat16).save_pretrained(folder)
    shutil.copy(FOLDERS / "SmolLM2-135M-Instruct" / "tokenizer.json", folder)


def _words(number: int, words: int) -> str:
    return " ".join(WORDS[(number + at) % len(WORDS)] for at in range(words))


if __name__ == "__main__":
    asyncio.run(measure_gpu())

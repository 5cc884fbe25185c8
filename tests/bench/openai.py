"""What OpenAI's dialect costs: its routes next to our own, for the same tasks of one model.

The model says the same to everybody, at once: what is left is the road.
"""

import asyncio
import json
import os
import random
import statistics
import tempfile
import time
import timeit
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from msgspec import Struct
from nats.aio.client import Client
from nats.aio.msg import Msg

from edge.called import Called
from edge.dialect import Dialect
from edge.native import Native
from edge.openai import chat, embeddings
from events import broker, inference, models
from events.ids import new_id
from events.inference import WORKERS, Answered, Timing
from events.models import ModelAnnounced, ModelDeclared
from events.tasks import all_tasks
from events.usage import Quantities
from tests.bench import wrk
from tests.bench.road import make_keys
from tests.bench.table import print_table
from tests.bench.wrk import Measured
from tests.system.system import System, echoing
from tests.waiting import until

ROUNDS: Final = 9
SECONDS: Final = 3
TICKS_S: Final = os.sysconf("SC_CLK_TCK")
CONNECTIONS: Final = (16, 64)
MODEL: Final = "stub"
MESSAGES: Final = [
    {"role": "system", "content": "You are an innkeeper."},
    {"role": "user", "content": "Is there a room for tonight?"},
]
SENTENCE: Final = "The quick brown fox jumps over the lazy dog."
VECTOR: Final = [round(random.Random(seed).uniform(-0.2, 0.2), 7) for seed in range(384)]
SAYS: Final[Mapping[str, Any]] = {
    "chat": {"answers": [{"text": "There is one left, under the roof.", "reason": "stop"}]},
    "embeddings": {"embeddings": [VECTOR]},
}


THEIRS: Final[Mapping[str, Dialect]] = {"chat": chat.DIALECT, "embeddings": embeddings.DIALECT}
USED: Final = Quantities(input_tokens=20, output_tokens=9, input_words=10, output_words=7)
CALLS: Final = 1_000  # timed together


class Run(Struct, frozen=True):
    """What wrk saw, and what it cost the edge."""

    measured: Measured
    cpu_us: float  # of the edge's, for one request: no neighbour changes that by much


class Route(Struct, frozen=True):
    """One way to ask."""

    name: str
    path: str
    body: Mapping[str, Any]


PAIRS: Final = (  # ours first
    (
        Route("chat, native", f"/v1/{MODEL}/chat", {"messages": MESSAGES, "max_tokens": 24}),
        Route(
            "chat, OpenAI's",
            "/v1/chat/completions",
            {"model": MODEL, "messages": MESSAGES, "max_tokens": 24},
        ),
    ),
    (
        Route("embeddings, native", f"/v1/{MODEL}/embeddings", {"sentences": [SENTENCE]}),
        Route(
            "embeddings, OpenAI's, base64",
            "/v1/embeddings",
            {"model": MODEL, "input": SENTENCE, "encoding_format": "base64"},
        ),
    ),
)


def measure_dialects() -> None:
    """Print what reading a body and writing an answer take, by themselves."""
    rows = []
    for task, (native, theirs) in zip(SAYS, PAIRS, strict=True):
        result = json.dumps(SAYS[task]).encode()
        value = all_tasks()[task].decode_result(result)
        dialects: tuple[Dialect, Dialect] = (
            Native(Called(MODEL, task), all_tasks()[task]),
            THEIRS[task],
        )
        times = []
        for dialect, route in zip(dialects, (native, theirs), strict=True):
            body = json.dumps(route.body).encode()
            whole = dialect.read(body).writer(new_id()).whole
            times += [
                _least_us(partial(dialect.read, body)),
                _least_us(partial(whole, result, value, USED)),
            ]
        more = sum(times[2:]) - sum(times[:2])
        rows.append((task, *(f"{us:.1f}" for us in times), f"{more:.1f}"))
    print_table(
        "microseconds, the least of many",
        ("", "native: reads", "writes", "OpenAI's: reads", "writes", "more"),
        rows,
    )


def _least_us(call: Callable[[], object]) -> float:
    return 1e6 * min(timeit.repeat(call, number=CALLS, repeat=20)) / CALLS


async def measure_openai() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        async with echoing(Path(folder) / "up") as system:
            worker = await system.broker()
            await _serve(worker)
            async with system.client() as client:

                async def listed() -> bool:
                    return MODEL in (await client.get("/v1/models")).text

                await until(listed)
            keys = await make_keys(system)
            scripts = {
                route.name: wrk.script(
                    Path(folder),
                    route.name.replace(" ", "-").replace("'", ""),
                    keys=keys,
                    path=route.path,
                    body=json.dumps(route.body),
                )
                for pair in PAIRS
                for route in pair
            }
            for connections in CONNECTIONS:
                for pair in PAIRS:
                    await _measure(system, pair, scripts, connections)
            await worker.close()


async def _serve(client: Client) -> None:
    """Be the model."""
    for task, says in SAYS.items():
        await client.subscribe(
            inference.subject(MODEL, task), queue=WORKERS, cb=_saying(json.dumps(says).encode())
        )
    await broker.settle(client)
    announced = ModelAnnounced(
        model=ModelDeclared(name=MODEL, source="bench:", tasks=tuple(SAYS)),
        worker_id=new_id(),
        until=time.time() + 3_600,
    )
    await client.publish(models.subject(announced), models.encode(announced))


def _saying(result: bytes) -> Callable[[Msg], Awaitable[None]]:
    answer = inference.encode(Answered(result, USED, Timing(0.1, 0.1, 0.1)))

    async def say(message: Msg) -> None:
        await message.respond(answer)

    return say


async def _measure(
    system: System, pair: Sequence[Route], scripts: Mapping[str, Path], connections: int
) -> None:
    """Both in turn, again and again, the one first and then the other."""
    results: dict[str, list[Run]] = {route.name: [] for route in pair}
    for number in range(ROUNDS + 1):
        for route in pair if number % 2 else reversed(pair):
            run = await _run(system, scripts[route.name], connections)
            if number:  # the first is for caches and code paths
                results[route.name].append(run)
    ours = results[pair[0].name]
    rows = []
    for name, runs in results.items():
        rates = [
            one.measured.rate / base.measured.rate for one, base in zip(runs, ours, strict=True)
        ]
        rows.append(
            (
                name,
                f"{statistics.median(one.measured.rate for one in runs):,.0f}",
                f"{statistics.median(rates):.0%}",
                f"{min(rates):.0%} to {max(rates):.0%}",
                f"{statistics.median(one.measured.p50 for one in runs):.1f}",
                _of(ours, runs, lambda one: one.measured.p50),
                f"{statistics.median(one.cpu_us for one in runs):.0f}",
                _of(ours, runs, lambda one: one.cpu_us),
            )
        )
    print_table(
        f"{connections} connections, median of {ROUNDS} interleaved pairs of {SECONDS} s",
        ("", "requests/s", "of native", "range", "p50 ms", "of native", "CPU us", "of native"),
        rows,
    )


def _of(base: Sequence[Run], runs: Sequence[Run], value: Callable[[Run], float]) -> str:
    """The median of what each is of the one beside it."""
    return f"{statistics.median(value(b) / value(a) for a, b in zip(base, runs, strict=True)):.0%}"


async def _run(system: System, script: Path, connections: int) -> Run:
    before = _cpu_s(system)
    measured = await wrk.run(system.url, script, connections=connections, seconds=SECONDS)
    assert measured.refused == measured.broken == 0, measured
    return Run(measured, 1e6 * (_cpu_s(system) - before) / measured.completed)


def _cpu_s(system: System) -> float:
    """What the edge's process has had of the processors."""
    pid = int((system.home / "run" / "edge.pid").read_text())
    user, kernel = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(kernel)) / TICKS_S


if __name__ == "__main__":
    measure_dialects()
    wrk.install()
    asyncio.run(measure_openai())

"""Two workers that an edge asks, against one queue before both: how long a request takes."""

import asyncio
import heapq
import random
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from msgspec import Struct

from deploy.local.nats import Nats
from deploy.local.ports import free_port
from edge.workers import Workers
from events import broker
from events.ids import new_id
from events.inference import Ask
from events.models import Limits
from events.tasks import echo
from events.tasks.echo import EchoInput
from events.usage import NOTHING
from inference.batch_pipeline import BatchPipeline
from inference.consumer import Consumer
from inference.models.echo import Echo
from inference.models.model import Answer, Prepared
from tests.bench.table import print_table

WORKERS: Final = 2
LOAD: Final = 0.8
SHORT_S: Final = 0.01  # a request takes between these, all lengths alike
LONG_S: Final = 0.03
REQUESTS: Final = 2_000
LIMITS: Final = {
    "by default": Limits(batch_tokens=1),
    "that take 512 requests each": Limits(batch_tokens=1, queue_ms=600_000),
}
PATIENCE_S: Final = 600.0


class Request(Struct):
    """One of them; seconds."""

    due: float  # since the first
    took: float = 0.0  # until its answer, from when it was due
    ran: float = 0.0


class Sleeper(Echo):
    """A device that takes as long as its text says, one text at a time."""

    def __init__(self, requests: Sequence[Request]) -> None:
        self._requests = requests

    def run(self, _task: str, prepared: Sequence[Prepared]) -> Sequence[Answer]:
        """Sleep, and note for how long."""
        (one,) = prepared
        number, seconds = one.data.text.split()
        began = time.perf_counter()
        time.sleep(float(seconds))
        self._requests[int(number)].ran = time.perf_counter() - began
        return [Answer(echo.EchoResult(text=one.data.text), NOTHING)]


async def measure_workers() -> None:
    """Print the table."""
    measured = {name: await _measure(limits) for name, limits in LIMITS.items()}
    rows = []
    for name, requests in measured.items():
        ours = _hundredths([one.took for one in requests])
        shared = _hundredths(_one_queue(requests))
        rows += [
            _row(f"two workers {name}", ours, shared),
            _row("one queue, the same times", shared, shared),
        ]
    print_table(
        f"{WORKERS} workers at {LOAD:.0%} load, {REQUESTS:,} requests of "
        f"{1_000 * SHORT_S:.0f} to {1_000 * LONG_S:.0f} ms at random moments",
        ("", "p50 ms", "p99 ms", "p50 of one queue", "p99 of one queue"),
        rows,
    )


async def _measure(limits: Limits) -> Sequence[Request]:
    chosen = random.Random(1)
    rate = LOAD * WORKERS / ((SHORT_S + LONG_S) / 2)
    due, requests, lengths = 0.0, [], []
    for _ in range(REQUESTS):
        due += chosen.expovariate(rate)
        requests.append(Request(due))
        lengths.append(chosen.uniform(SHORT_S, LONG_S))
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        server = stack.enter_context(Nats(Path(folder), free_port()))
        serving = await stack.enter_async_context(asyncio.TaskGroup())
        forever = []
        for _ in range(WORKERS):
            client = await broker.connect(server.url, "worker")
            stack.push_async_callback(client.close)
            consumer = Consumer(client)
            pipeline = BatchPipeline(Sleeper(requests), limits, consumer.answer)
            forever.append(serving.create_task(pipeline.serve()))
            await consumer.subscribe("sleeper", [echo.TASK], pipeline)
        client = await broker.connect(server.url, "edge")
        stack.push_async_callback(client.close)
        workers = Workers(
            client,
            retry_s=PATIENCE_S,
            max_wait_s=PATIENCE_S,
            max_waiting=REQUESTS,
            serving=lambda _: WORKERS,
        )
        await workers.start()
        began = time.perf_counter()

        async def call(number: int) -> None:
            value = EchoInput(text=f"{number} {lengths[number]}")
            deadline = time.time() + PATIENCE_S
            ask = Ask(new_id(), new_id(), deadline, echo.TASK.encode(value))
            await workers.ask("sleeper", "echo", ask)
            one = requests[number]
            one.took = time.perf_counter() - began - one.due

        async with asyncio.TaskGroup() as calls:
            for number, one in enumerate(requests):
                await asyncio.sleep(max(0.0, began + one.due - time.perf_counter()))
                calls.create_task(call(number))
        for task in forever:
            task.cancel()
    return requests


def _one_queue(requests: Sequence[Request]) -> Sequence[float]:
    """The same requests, first come first served by whoever is free."""
    free = [0.0] * WORKERS
    took = []
    for one in requests:
        ended = max(one.due, free[0]) + one.ran
        heapq.heapreplace(free, ended)
        took.append(ended - one.due)
    return took


def _hundredths(took: Sequence[float]) -> Mapping[int, float]:
    """Milliseconds, by percentile."""
    return dict(enumerate((1_000 * cut for cut in statistics.quantiles(took, n=100)), start=1))


def _row(name: str, took: Mapping[int, float], shared: Mapping[int, float]) -> Sequence[str]:
    return (
        name,
        f"{took[50]:.1f}",
        f"{took[99]:.1f}",
        f"{took[50] / shared[50]:.2f}",
        f"{took[99] / shared[99]:.2f}",
    )


if __name__ == "__main__":
    asyncio.run(measure_workers())

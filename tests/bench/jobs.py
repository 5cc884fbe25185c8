"""Asynchronous requests: how many, and what callers who wait notice of them."""

import asyncio
import tempfile
import time
from pathlib import Path
from typing import Final

import httpx

from events import streams
from tests.bench import wrk
from tests.bench.road import BODY, PATH, make_keys
from tests.bench.table import print_table
from tests.system.system import ECHO_ONLY, System, running
from tests.waiting import until

JOBS: Final = 3_000
CALLERS: Final = 16  # that send jobs
CONNECTIONS: Final = 8  # that wait for answers
SECONDS: Final = 10


async def measure_jobs() -> None:
    """Print the tables."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        (home / "models.toml").write_text(ECHO_ONLY)
        environment = {
            "TOLLGATE_MODELS_FILE": str(home / "models.toml"),
            "TOLLGATE_OPEN_JOBS": "50000",
        }
        async with running(home / "up", environment=environment) as system:
            taken = await _take(system)
            async with asyncio.timeout(600):
                began = time.perf_counter()
                left = await _left(system)
                await until(lambda: _is_done(system), timeout_s=600)
            done = left / (time.perf_counter() - began)
            keys = await make_keys(system)
            script = wrk.script(home, "jobs", keys=keys, path=PATH, body=BODY)
            await wrk.run(system.url, script, connections=CONNECTIONS, seconds=2)
            alone = await wrk.run(system.url, script, connections=CONNECTIONS, seconds=SECONDS)
            feeding = asyncio.create_task(_take(system))
            beside = await wrk.run(system.url, script, connections=CONNECTIONS, seconds=SECONDS)
            await feeding
    print_table(
        f"{JOBS:,} jobs of the echo model, one edge process, sent by {CALLERS} callers",
        ("", "jobs/s"),
        [("taken, durably, while others run", f"{taken:,.0f}"), ("the rest run", f"{done:,.0f}")],
    )
    print_table(
        f"{CONNECTIONS} connections that wait for answers, {SECONDS} s",
        ("", "requests/s", "p50 ms", "p99 ms"),
        [
            (name, f"{run.rate:,.0f}", f"{run.p50:.1f}", f"{run.p99:.1f}")
            for name, run in (("alone", alone), ("while jobs are taken and run", beside))
        ],
    )


async def _take(system: System) -> float:
    """Send jobs; how many were taken in a second."""
    numbers = iter(range(JOBS))

    async def call(client: httpx.AsyncClient) -> None:
        for _ in numbers:
            answer = await client.post("/v1/async/echo/echo", content=BODY)
            assert answer.status_code == httpx.codes.ACCEPTED, answer.text

    began = time.perf_counter()
    async with system.client() as client, asyncio.TaskGroup() as tasks:
        for _ in range(CALLERS):
            tasks.create_task(call(client))
    return JOBS / (time.perf_counter() - began)


async def _left(system: System) -> int:
    client = await system.broker()
    info = await client.jetstream().stream_info(streams.JOBS)
    await client.close()
    return int(info.state.messages)


async def _is_done(system: System) -> bool:
    return await _left(system) == 0


if __name__ == "__main__":
    wrk.install()
    asyncio.run(measure_jobs())

"""How soon usage is seen under load, and what becomes of it while PostgreSQL is away."""

import asyncio
import statistics
import tempfile
import time
from pathlib import Path
from typing import Final

import asyncpg
from nats.aio.client import Client

from deploy.local.nats import Nats
from deploy.local.ports import free_port
from deploy.local.postgres import Postgres
from events import streams
from tests.bench import wrk
from tests.bench.road import BODY, PATH, make_keys
from tests.bench.table import print_table
from tests.system.system import System, running

CONNECTIONS: Final = 16
PROBES: Final = 200
AWAY_S: Final = 60


async def measure_outage() -> None:
    """Print both, and check that every event is in the ledger once."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        home.chmod(0o755)
        with (
            Postgres(home / "postgres", free_port()) as postgres,
            Nats(home / "nats", free_port()) as nats,
        ):
            environment = {
                "TOLLGATE_NATS_URL": nats.url,
                "TOLLGATE_DATABASE_URL": postgres.create("tollgate"),
            }
            async with running(home / "home", environment=environment) as system:
                keys = await make_keys(system)
                script = wrk.script(home, "load", keys=keys, path=PATH, body=BODY)
                await _freshness(system, script)
                await _outage(system, script, postgres)


async def _freshness(system: System, script: Path) -> None:
    load = asyncio.create_task(
        wrk.run(system.url, script, connections=CONNECTIONS, seconds=PROBES // 5 + 10)
    )
    connection = await asyncpg.connect(system.database_url)
    seen = []
    async with system.client() as client:
        for _ in range(PROBES):
            before = await _mine(connection, system)
            response = await client.post(PATH, json={"text": "now"})
            answered = time.perf_counter()
            assert response.status_code == 200
            while await _mine(connection, system) == before:
                await asyncio.sleep(0.002)
            seen.append(1_000 * (time.perf_counter() - answered))
    await connection.close()
    driven = await load
    percentiles = statistics.quantiles(seen, n=100, method="inclusive")
    print_table(
        f"From an answer to the totals, {PROBES} probes at {driven.rate:,.0f} requests/s",
        ("p50 ms", "p99 ms", "worst"),
        [(f"{percentiles[49]:.0f}", f"{percentiles[98]:.0f}", f"{max(seen):.0f}")],
    )


async def _mine(connection: "asyncpg.Connection[asyncpg.Record]", system: System) -> int:
    query = "SELECT coalesce(sum(requests), 0)::int FROM usage_totals WHERE account_id = $1"
    found: int = await connection.fetchval(query, system.account_id)
    return found


async def _outage(system: System, script: Path, postgres: Postgres) -> None:
    load = asyncio.create_task(
        wrk.run(system.url, script, connections=CONNECTIONS, seconds=AWAY_S + 10)
    )
    await asyncio.sleep(5)
    await asyncio.to_thread(postgres.stop)
    driven = await load
    assert driven.refused == driven.broken == 0, driven
    broker = await system.broker()
    backlog = await _backlog(broker)
    started = time.perf_counter()
    await asyncio.to_thread(postgres.start)
    back = time.perf_counter()
    while await _backlog(broker):
        await asyncio.sleep(0.02)
    drained = time.perf_counter()
    await broker.close()
    connection = await asyncpg.connect(system.database_url)
    events = await connection.fetchval("SELECT sum(requests) FROM usage_events")
    totals = await connection.fetchval("SELECT sum(requests) FROM usage_totals")
    await connection.close()
    rate = backlog / (drained - back)
    print_table(
        f"PostgreSQL away for {AWAY_S} s and more, at {driven.rate:,.0f} requests/s",
        ("requests", "refused", "backlog", "back after s", "drained in s", "events/s", "of live"),
        [
            (
                f"{driven.completed:,}",
                f"{driven.refused + driven.broken}",
                f"{backlog:,}",
                f"{back - started:.1f}",
                f"{drained - back:.1f}",
                f"{rate:,.0f}",
                f"{rate / driven.rate:.1f}",
            )
        ],
    )
    assert events == totals, (events, totals)


async def _backlog(broker: Client) -> int:
    stored = (await broker.jetstream().stream_info(streams.USAGE)).state.last_seq
    return stored - await streams.folded_up_to(broker)


if __name__ == "__main__":
    wrk.install()
    asyncio.run(measure_outage())

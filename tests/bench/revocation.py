"""How soon a revoked key is refused by every edge."""

import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import datetime
from pathlib import Path
from typing import Final

import asyncpg
import httpx
from nats.aio.client import Client

from consumers.outbox import Relay
from deploy.local.nats import Nats
from deploy.local.ports import free_port
from deploy.local.postgres import Postgres
from events import broker, streams
from ledger.api_keys import revoke_key
from ledger.db import create_pool
from ledger.migrate import migrate
from tests.bench.table import print_table
from tests.system.fleet import PATH, Customer, EdgeProcess, Fleet, fleet
from tests.waiting import until

EDGES: Final = 4
ROUNDS: Final = 25
BODY: Final = {"text": "hello"}


async def measure_revocation() -> None:
    """Print the table: from the announcement, or an edge's reconnect, to its first refusal."""
    with tempfile.TemporaryDirectory() as folder:
        async with AsyncExitStack() as stack:
            nats = stack.enter_context(Nats(Path(folder) / "nats", free_port()))
            server = stack.enter_context(Postgres(Path(folder) / "postgres", free_port()))
            url = server.create("bench")
            await asyncio.to_thread(migrate, url)
            connection = await broker.connect(nats.url, "bench")
            stack.push_async_callback(connection.close)
            await streams.prepare(connection, streams.Sizes())
            ledger = await asyncpg.connect(url)
            stack.push_async_callback(ledger.close)
            pool = await stack.enter_async_context(create_pool(url))
            stop = asyncio.Event()
            relay = asyncio.create_task(Relay(connection, pool).work(stop))
            plans = Path(folder) / "plans.toml"
            plans.write_text('[[plan]]\nname = "default"\n')
            four = await stack.enter_async_context(
                fleet(EDGES, nats_url=nats.url, database_url=url, ledger=ledger, plans=plans)
            )
            quiet = [
                took for _ in range(ROUNDS) for took in await _round(four, connection, None, plans)
            ]
            restarted = [
                took for _ in range(ROUNDS) for took in await _round(four, connection, nats, plans)
            ]
            stop.set()
            await relay
    print_table(
        f"A revoked key, until {EDGES} edges refuse it; {ROUNDS} rounds, ms",
        ("", "p50", "p99", "worst"),
        [
            ("from the announcement", *_summary(quiet)),
            ("revoked while NATS restarts: from it or the reconnect", *_summary(restarted)),
        ],
    )


def _summary(took: Sequence[float]) -> tuple[str, str, str]:
    ordered = sorted(took)
    p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    return f"{statistics.median(took):.0f}", f"{p99:.0f}", f"{ordered[-1]:.0f}"


async def _round(four: Fleet, client: Client, nats: Nats | None, plans: Path) -> Sequence[float]:
    """Milliseconds until each edge refuses."""
    customer = await four.customer("default")
    async with httpx.AsyncClient(timeout=10) as http:
        for edge in four.edges:  # each knows the key
            await until(lambda: _status(http, edge, customer, 200))  # noqa: B023 - awaited here
        before = time.time()
        if nats is not None:
            nats.stop()
        await revoke_key(four.ledger, customer.key_id)
        if nats is not None:
            nats.start()
        async with asyncio.TaskGroup() as tasks:
            refused = [tasks.create_task(_refused_at(http, edge, customer)) for edge in four.edges]
        subject = f"accounts.{customer.account_id}.{customer.key_id}"
        message = await client.jetstream().get_last_msg(streams.ACCOUNTS, subject)
        announced = _announced_at(message.time)
    took = []
    for number, task in enumerate(refused):
        since = max(announced, _reconnected_at(plans.parent / f"edge-{number}.log", before))
        took.append(max(0.0, task.result() - since) * 1_000)
    return took


async def _status(http: httpx.AsyncClient, edge: EdgeProcess, to: Customer, status: int) -> bool:
    answer = await http.post(edge.url + PATH, json=BODY, headers=to.headers)
    return answer.status_code == status


async def _refused_at(http: httpx.AsyncClient, edge: EdgeProcess, customer: Customer) -> float:
    while not await _status(http, edge, customer, 401):
        await asyncio.sleep(0.002)
    return time.time()


def _announced_at(at: datetime | None) -> float:
    assert at is not None
    return at.timestamp()


def _reconnected_at(log: Path, after: float) -> float:
    """When an edge last came back to NATS, by its log; 0 where it was not away."""
    times = [
        datetime.fromisoformat(line["timestamp"]).timestamp()
        for line in map(json.loads, filter(_is_reconnect, log.read_text().splitlines()))
    ]
    return max((at for at in times if at > after), default=0.0)


def _is_reconnect(line: str) -> bool:
    return line.startswith("{") and '"nats_reconnected"' in line


if __name__ == "__main__":
    asyncio.run(measure_revocation())

"""How fast Stripe's events are taken, and how soon they change what edges enforce."""

import asyncio
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import asyncpg
import httpx
from msgspec import Struct
from nats.aio.client import Client

from deploy.local.nats import Nats
from deploy.local.ports import free_port
from deploy.local.postgres import Postgres
from events import broker, streams
from ledger.db import Connection
from ledger.migrate import migrate
from tests.bench import wrk
from tests.bench.table import print_table
from tests.edge.running import WEBHOOK_SECRET
from tests.edge.test_bad_input import signed
from tests.ledger.stripe_history import a_subscription, an_event
from tests.system.fleet import fleet
from tests.system.subscribing import Subscriber, Subscribing, subscribing
from tests.waiting import until

CONNECTIONS: Final = (1, 16, 64)
SECONDS: Final = 6
PACED_PER_S: Final = 100
PACED_S: Final = 10
BODY_BYTES: Final = 3_000  # of an event about a subscription
ROUNDS: Final = 40
LOAD_CALLERS: Final = 8
LOAD_PER_S: Final = 50  # requests of each caller
LOAD_WEBHOOKS_PER_S: Final = 20
PATH: Final = "/webhooks/stripe"


class Servers(Struct, frozen=True):
    """What edges stand on."""

    nats: Nats
    client: Client
    database_url: str
    ledger: Connection


async def _servers(folder: Path, stack: AsyncExitStack) -> Servers:
    nats = stack.enter_context(Nats(folder / "nats", free_port()))
    postgres = stack.enter_context(Postgres(folder / "postgres", free_port()))
    url = postgres.create("bench")
    await asyncio.to_thread(migrate, url)
    client = await broker.connect(nats.url, "bench")
    stack.push_async_callback(client.close)
    await streams.prepare(client, streams.Sizes())
    ledger = await asyncpg.connect(url)
    stack.push_async_callback(ledger.close)
    return Servers(nats, client, url, ledger)


async def measure_intake() -> None:
    """Print the table of one edge that verifies and stores, and check that all is stored."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        async with AsyncExitStack() as stack:
            servers = await _servers(home, stack)
            plans = home / "plans.toml"
            plans.write_text('[[plan]]\nname = "default"\n')
            one = await stack.enter_async_context(
                fleet(
                    1,
                    nats_url=servers.nats.url,
                    database_url=servers.database_url,
                    ledger=servers.ledger,
                    plans=plans,
                    environment={"TOLLGATE_STRIPE_WEBHOOK_SECRETS": WEBHOOK_SECRET},
                )
            )
            url = one.edges[0].url
            taken = 0
            for connections in CONNECTIONS:
                body = _body()
                script = wrk.posting(
                    home, "webhook", headers=[signed(body)], path=PATH, body=body.decode()
                )
                found = await wrk.run(url, script, connections=connections, seconds=SECONDS)
                assert not found.refused + found.broken
                taken += found.completed
                row = (f"{connections} connections", f"{found.rate:,.0f}")
                rows.append((*row, f"{found.p50:.1f}", f"{found.p99:.1f}"))
            paced = await _paced(url)
            taken += len(paced)
            row = (f"{PACED_PER_S} a second", f"{PACED_PER_S}")
            rows.append((*row, f"{_part(paced, 0.5):.1f}", f"{_part(paced, 0.99):.1f}"))
            stored = (await servers.client.jetstream().stream_info(streams.STRIPE)).state.messages
    print_table(
        f"Webhooks of {BODY_BYTES:,} bytes: verified, durable, answered, by one edge",
        ("", "a second", "p50 ms", "p99 ms"),
        rows,
    )
    print(f"{taken:,} answered with 202, {stored:,} stored")
    assert stored >= taken  # wrk leaves requests that it does not count


def _body() -> bytes:
    bare = an_event(a_subscription("pro_monthly"))
    padding = "x" * (BODY_BYTES - len(bare))
    return an_event(a_subscription("pro_monthly", description=padding))


async def _paced(url: str) -> Sequence[float]:
    """Milliseconds that each took, whatever the one before it did."""
    took: list[float] = []

    async def post(http: httpx.AsyncClient) -> None:
        body = _body()
        headers = signed(body)
        started = time.perf_counter()
        answer = await http.post(url + PATH, content=body, headers=headers)
        took.append((time.perf_counter() - started) * 1_000)
        assert answer.status_code == 202

    async with httpx.AsyncClient(timeout=30) as http, asyncio.TaskGroup() as tasks:
        for _ in range(PACED_PER_S * PACED_S):
            tasks.create_task(post(http))
            await asyncio.sleep(1 / PACED_PER_S)
    return took


def _part(took: Sequence[float], part: float) -> float:
    return sorted(took)[min(len(took) - 1, int(len(took) * part))]


async def measure_entitlements() -> None:
    """Print the table: from posting a webhook to the new limit on every edge."""
    with tempfile.TemporaryDirectory() as folder:
        async with AsyncExitStack() as stack:
            servers = await _servers(Path(folder), stack)
            four = await stack.enter_async_context(
                subscribing(
                    servers.client,
                    servers.nats.url,
                    servers.database_url,
                    servers.ledger,
                    Path(folder),
                )
            )
            quiet = await _changes(four)
            async with asyncio.TaskGroup() as tasks:
                others = [await four.subscriber() for _ in range(LOAD_CALLERS)]
                load = [tasks.create_task(_call(four, one)) for one in others]
                load.append(tasks.create_task(_deliver(four, others)))
                loaded = await _changes(four)
                for task in load:
                    task.cancel()
    rows = [
        (name, *(f"{_part(took, part):.0f}" for part in (0.5, 0.99, 1.0)))
        for name, took in (("quiet", quiet), ("under load", loaded))
    ]
    print_table(
        f"From a webhook to the new limit on {len(four.fleet.edges)} edges; {ROUNDS} rounds, ms",
        ("", "p50", "p99", "worst"),
        rows,
    )


async def _changes(four: Subscribing) -> Sequence[float]:
    """Milliseconds until each edge enforces each change, of one subscriber after the other."""
    took: list[float] = []
    for _ in range(ROUNDS):
        subscriber = await four.subscriber()
        await asyncio.gather(*(_until(four, n, subscriber, 429) for n in range(4)))
        started = time.perf_counter()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(four.deliver(subscriber.subscription_is("active")))
            seen = [tasks.create_task(_until(four, n, subscriber, 200)) for n in range(4)]
        took += [(one.result() - started) * 1_000 for one in seen]
    return took


async def _until(four: Subscribing, edge: int, subscriber: Subscriber, status: int) -> float:
    async def it_does() -> bool:
        return await four.answers(four.fleet.edges[edge], subscriber) == status

    await until(it_does)
    return time.perf_counter()


async def _call(four: Subscribing, subscriber: Subscriber) -> None:
    while True:
        for edge in four.fleet.edges:
            await four.answers(edge, subscriber)
            await asyncio.sleep(1 / LOAD_PER_S)


async def _deliver(four: Subscribing, subscribers: Sequence[Subscriber]) -> None:
    while True:
        for subscriber in subscribers:
            await four.deliver(subscriber.subscription_is("active"))
            await asyncio.sleep(1 / LOAD_WEBHOOKS_PER_S)


if __name__ == "__main__":
    wrk.install()
    asyncio.run(measure_intake())
    asyncio.run(measure_entitlements())

"""Webhooks until they are in the ledger, beside stripe/sync-engine's until they are in its tables.

The same events over HTTP, on the same PostgreSQL. It answers once its one row is committed;
we answer once the event is durable, and what counts here is when it is journaled, folded
into its object, and the account's plan has followed.
"""

import asyncio
import json
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from statistics import median
from typing import Any, ClassVar, Final

import asyncpg
import httpx

from deploy.local.nats import Nats
from deploy.local.ports import free_port
from deploy.local.postgres import Postgres
from deploy.local.server import Server
from events import broker, streams
from events.ids import new_id
from ledger.migrate import migrate
from tests.bench import wrk
from tests.bench.table import print_table
from tests.edge.running import WEBHOOK_SECRET
from tests.edge.test_bad_input import signed
from tests.node import Program
from tests.system.fleet import fleet
from tests.system.subscribing import PLANS, consuming
from tests.waiting import until

ROUNDS: Final = 3
SECONDS: Final = 6
CONNECTIONS: Final = 16
EVENTS: Final = 40_000  # more than either takes in that time
CUSTOMERS: Final = 1_000
PATH: Final = "/webhooks/stripe"
HEADER: Final = "Stripe-Signature"
PROGRAM: Final = Program(
    Path(__file__).parent / "sync_engine",
    "stripe-sync-engine",
    script="serve.cjs",
    advice="this benchmark needs it",
)


class SyncEngine(Server):
    """stripe/sync-engine with a database."""

    name: ClassVar[str] = "stripe-sync-engine"

    def __init__(self, home: Path, port: int, database_url: str) -> None:
        super().__init__(home, port)
        self._database_url = database_url

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def argv(self) -> Sequence[str]:
        return PROGRAM.argv(str(self.port), self._database_url, WEBHOOK_SECRET)

    def prepare(self) -> None:
        PROGRAM.install()

    def answers(self) -> bool:
        with suppress(httpx.HTTPError):
            return httpx.post(self.url, timeout=1).status_code == httpx.codes.INTERNAL_SERVER_ERROR
        return False


async def measure_mirror() -> None:
    """Print both rates, and check that what was taken is there."""
    ours, theirs = [], []
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        home.chmod(0o755)
        with Postgres(home / "postgres", free_port()) as postgres:
            for number in range(ROUNDS):
                place = home / str(number)
                place.mkdir()
                theirs.append(await _theirs(place, postgres.create(f"theirs{number}")))
                ours.append(await _ours(place, postgres.create(f"ours{number}")))
    ratios = [mine / its for mine, its in zip(ours, theirs, strict=True)]
    print_table(
        f"Events of customers, {CONNECTIONS} connections, from the webhook to the commit",
        ("", "events/s, median", "least", "most"),
        [
            ("stripe/sync-engine 0.48.5", *_spread(theirs, ",.0f")),
            ("tollgate: one edge, two consumers", *_spread(ours, ",.0f")),
            ("ratio", *_spread(ratios, ".2f")),
        ],
    )


async def _theirs(home: Path, database_url: str) -> float:
    with SyncEngine(home / "sync-engine", free_port(), database_url) as engine:
        script = _script(home, "theirs", "/")
        found = await wrk.run(engine.url, script, connections=CONNECTIONS, seconds=SECONDS)
    assert not found.refused + found.broken
    ledger = await asyncpg.connect(database_url)
    assert await ledger.fetchval("SELECT count(*) FROM stripe.customers") == CUSTOMERS
    await ledger.close()
    return found.rate


async def _ours(home: Path, database_url: str) -> float:
    await asyncio.to_thread(migrate, database_url)
    plans = home / "plans.toml"
    plans.write_text(PLANS)
    async with AsyncExitStack() as stack:
        nats = stack.enter_context(Nats(home / "nats", free_port()))
        client = await broker.connect(nats.url, "bench")
        stack.push_async_callback(client.close)
        await streams.prepare(client, streams.Sizes())
        ledger = await asyncpg.connect(database_url)
        stack.push_async_callback(ledger.close)
        await ledger.execute(
            "INSERT INTO accounts (id, name, stripe_customer) SELECT md5(n::text)::uuid, '', "
            f"'cus_' || n FROM generate_series(0, {CUSTOMERS - 1}) AS n"
        )
        one = await stack.enter_async_context(
            fleet(
                1,
                nats_url=nats.url,
                database_url=database_url,
                ledger=ledger,
                plans=plans,
                environment={"TOLLGATE_STRIPE_WEBHOOK_SECRETS": WEBHOOK_SECRET},
            )
        )
        await stack.enter_async_context(consuming(nats.url, database_url, plans))
        script = _script(home, "ours", PATH)
        url = one.edges[0].url

        async def journaled() -> bool:
            return bool(await ledger.fetchval("SELECT count(*) FROM stripe_events") == stored)

        first, stored = _event(0, 0), 1
        async with httpx.AsyncClient() as http:
            await http.post(url + PATH, content=first, headers=signed(first))
        await until(journaled)  # the consumers are there
        began = time.perf_counter()
        found = await wrk.run(url, script, connections=CONNECTIONS, seconds=SECONDS)
        assert not found.refused + found.broken
        stored = (await client.jetstream().stream_info(streams.STRIPE)).state.messages
        assert found.completed < stored <= EVENTS, "no event may come twice"
        await until(journaled)
        seconds = time.perf_counter() - began
        assert await ledger.fetchval("SELECT count(*) FROM stripe_objects") == CUSTOMERS
    return float(stored / seconds)


def _script(home: Path, name: str, path: str) -> Path:
    started = int(time.time()) - EVENTS
    bodies = [_event(number, started + number) for number in range(EVENTS)]
    requests = [(signed(body)[HEADER], body) for body in bodies]
    return wrk.posting_each(home, name, header=HEADER, requests=requests, path=path)


def _event(number: int, created: int) -> bytes:
    customer: dict[str, Any] = {
        "id": f"cus_{number % CUSTOMERS}",
        "object": "customer",
        "address": None,
        "balance": 0,
        "created": created - 86_400,
        "currency": "usd",
        "default_source": None,
        "delinquent": False,
        "description": "x" * 900,
        "discount": None,
        "email": f"{number}@example.com",
        "invoice_prefix": "F9B9C7A1",
        "invoice_settings": {"custom_fields": None, "default_payment_method": None},
        "livemode": False,
        "metadata": {"number": str(number)},
        "name": "Ada",
        "next_invoice_sequence": 1,
        "phone": None,
        "preferred_locales": [],
        "shipping": None,
        "tax_exempt": "none",
    }
    event = {
        "id": f"evt_{new_id().hex}",
        "object": "event",
        "api_version": "2026-10-28.endive",
        "created": created,
        "type": "customer.updated",
        "data": {"object": customer, "previous_attributes": {"metadata": {"number": "0"}}},
        "livemode": False,
        "pending_webhooks": 1,
    }
    return json.dumps(event).encode()


def _spread(values: Sequence[float], form: str) -> tuple[str, str, str]:
    low, high = min(values), max(values)
    return format(median(values), form), format(low, form), format(high, form)


if __name__ == "__main__":
    wrk.install()
    asyncio.run(measure_mirror())

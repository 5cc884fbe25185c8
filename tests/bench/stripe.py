"""Stripe's events from the stream to the commit, and how soon a large ledger answers.

The events are of customers that have accounts: each is journaled, folded into its object, and
the account's plan follows from it in the same transaction.
"""

import asyncio
import json
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import asyncpg
from nats.js.errors import NotFoundError

from deploy.local.nats import Nats
from deploy.local.ports import free_port
from deploy.local.postgres import Postgres
from events import broker, streams, stripe
from events.ids import new_id
from ledger.api_keys import find_keys
from ledger.migrate import migrate
from tests.bench.draining import drain
from tests.bench.table import print_table

EVENTS: Final = 40_000
CUSTOMERS: Final = 4_000
LATE: Final = 0.05  # of them have not paid
IN_FLIGHT: Final = 256
OBJECTS: Final = 1_000_000
ACCOUNTS: Final = OBJECTS // 4  # each with a customer, a subscription and two invoices
ASKED: Final = 5_000

PLANS: Final = """
[[plan]]
name = "default"
[[plan]]
name = "pro"
lookup_keys = ["pro"]
"""
LEDGER: Final = f"""
INSERT INTO accounts (id, name, stripe_customer)
SELECT md5(n::text)::uuid, 'account ' || n, 'cus_' || n FROM generate_series(1, {ACCOUNTS}) AS n;
INSERT INTO api_keys (id, account_id, hash, name)
SELECT 'key' || n, md5(n::text)::uuid, sha256(n::text::bytea), ''
FROM generate_series(1, {ACCOUNTS}) AS n;
INSERT INTO stripe_objects (
    id, type, customer, stripe_created, received_at, event_id, deleted, object
)
SELECT
    kind.prefix || n, kind.type, 'cus_' || n, now(), now(), 'evt_' || kind.prefix || n, false,
    jsonb_build_object(
        'id', kind.prefix || n, 'object', kind.type, 'customer', 'cus_' || n, 'created', n,
        'status', 'active', 'description', repeat(md5(n::text), 12)
    )
FROM generate_series(1, {ACCOUNTS}) AS n
CROSS JOIN (
    VALUES ('cus_', 'customer'), ('sub_', 'subscription'), ('in_', 'invoice'), ('inv_', 'invoice')
) AS kind (prefix, type);
VACUUM ANALYZE accounts, api_keys, stripe_objects;
CHECKPOINT
"""
PLAN_OF: Final = "SELECT stripe_subscription->>'status' FROM customers WHERE account_id = $1"


async def measure_reconciliation() -> None:
    """Print both tables, and check that every event is there once."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        home.chmod(0o755)
        (home / "plans.toml").write_text(PLANS)
        with (
            Postgres(home / "postgres", free_port()) as postgres,
            Nats(home / "nats", free_port()) as nats,
        ):
            bodies = some_events()
            await _fill(nats.url, bodies)
            rates = [
                await _from_stream(nats.url, postgres.create(f"by{count}"), home, count)
                for count in (1, 2)
            ]
            size = statistics.mean(map(len, bodies))
            print_table(
                f"Stripe's events, {EVENTS:,} of {size:,.0f} bytes, from the stream to the commit",
                ("consumers", "events/s"),
                [(f"{count}", f"{rate:,.0f}") for count, rate in enumerate(rates, start=1)],
            )
            await _look_up(postgres.create("large"))


def some_events() -> Sequence[bytes]:
    """Of customers, their subscriptions and invoices, at random; some seconds are shared."""
    chosen = random.Random(1)
    started = int(time.time()) - EVENTS
    return [_event(chosen, number, started + number) for number in range(EVENTS)]


def _event(chosen: random.Random, number: int, created: int) -> bytes:
    customer = f"cus_{chosen.randrange(CUSTOMERS)}"
    kind = chosen.choice(["customer", "subscription", "invoice"])
    about: dict[str, Any] = {
        "id": customer if kind == "customer" else f"{kind}_{customer}",
        "object": kind,
        "customer": customer,
        "created": created,
        "metadata": {"number": str(number), "note": "x" * 200},
        "status": "past_due" if chosen.random() < LATE else "active",
        "items": {
            "object": "list",
            "data": [
                {
                    "id": f"si_{customer}",
                    "object": "subscription_item",
                    "current_period_start": created,
                    "current_period_end": created + 30 * 86_400,
                    "price": {"id": "price_1", "object": "price", "lookup_key": "pro"},
                }
            ],
            "has_more": False,
        },
        "lines": [{"id": f"il_{line}", "amount": line, "text": "y" * 100} for line in range(6)],
    }
    event = {
        "id": f"evt_{new_id().hex}",
        "object": "event",
        "api_version": "2026-10-28.endive",
        "created": created,
        "type": f"{'customer.' if kind == 'subscription' else ''}{kind}.updated",
        "data": {"object": about, "previous_attributes": {"metadata": {"number": "0"}}},
    }
    return json.dumps(event).encode()


async def _fill(nats_url: str, bodies: Sequence[bytes]) -> None:
    client = await broker.connect(nats_url, "bench")
    await streams.prepare(client, streams.Sizes())
    jetstream = client.jetstream()
    for start in range(0, len(bodies), IN_FLIGHT):
        part = bodies[start : start + IN_FLIGHT]
        await asyncio.gather(*[jetstream.publish(stripe.subject(body), body) for body in part])
    await client.close()


async def _from_stream(nats_url: str, database_url: str, home: Path, consumers: int) -> float:
    """Start consumers as `tollgate consume` on a full stream, and wait for them."""
    await asyncio.to_thread(migrate, database_url)
    client = await broker.connect(nats_url, "bench")
    with suppress(NotFoundError):  # from the beginning
        await client.jetstream().delete_consumer(
            streams.STRIPE, streams.stripe_journal().durable_name or ""
        )
    await client.close()
    connection = await asyncpg.connect(database_url)
    await connection.execute(
        "INSERT INTO accounts (id, name, stripe_customer) "
        f"SELECT md5(n::text)::uuid, '', 'cus_' || n FROM generate_series(0, {CUSTOMERS - 1}) AS n"
    )
    rate = await drain(
        connection,
        "SELECT count(*) FROM stripe_events",
        {
            "TOLLGATE_NATS_URL": nats_url,
            "TOLLGATE_DATABASE_URL": database_url,
            "TOLLGATE_PLANS_FILE": str(home / "plans.toml"),
            "TOLLGATE_STRIPE_WORKERS": "1",
        },
        consumers=consumers,
        events=EVENTS,
    )
    plans = await connection.fetchval("SELECT count(*) FROM accounts WHERE stripe_plan = 'pro'")
    assert plans > CUSTOMERS // 2, plans
    await connection.close()
    return rate


async def _look_up(database_url: str) -> None:
    await asyncio.to_thread(migrate, database_url)
    connection = await asyncpg.connect(database_url)
    for statement in LEDGER.split(";\n"):
        await connection.execute(statement)
    chosen = random.Random(1)
    rows = await connection.fetch("SELECT account_id, hash FROM api_keys")
    asked = chosen.sample(rows, ASKED)
    by_key, by_view = [], []
    for row in asked:  # by turns: a noisy moment hits both
        by_key.append(await _took(find_keys(connection, [row["hash"]])))
        by_view.append(await _took(connection.fetchval(PLAN_OF, row["account_id"])))
    await connection.close()
    print_table(
        f"An account's plan in a ledger of {OBJECTS:,} objects, {ASKED:,} accounts at random",
        ("", "p50 ms", "p99 ms"),
        [
            (name, f"{percentiles[49]:.2f}", f"{percentiles[98]:.2f}")
            for name, seen in (
                ("as an edge looks a key up", by_key),
                ("the status of its subscription, in SQL", by_view),
            )
            for percentiles in [statistics.quantiles(seen, n=100, method="inclusive")]
        ],
    )


async def _took(asking: Any) -> float:
    """Milliseconds."""
    started = time.perf_counter()
    assert await asking
    return 1_000 * (time.perf_counter() - started)


if __name__ == "__main__":
    asyncio.run(measure_reconciliation())

"""Usage events a second into the ledger: the statement alone, and from the stream.

Beside it what PostgreSQL does with the same events at best, `COPY` without totals, and what
a service does that commits each event by itself.
"""

import asyncio
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
from edge.metering import Meter
from events import broker, streams, usage
from events.ids import new_id
from events.usage import Numbered, Quantities, Usage, UsageEvent
from ledger.migrate import migrate
from ledger.usage import fold_usage
from tests.bench.draining import drain
from tests.bench.table import print_table

EVENTS: Final = 1_000_000
SINGLE: Final = 5_000  # events that are committed one by one
BATCH: Final = 1_000
KEYS: Final = 1_000


def some_usage(count: int) -> Sequence[Usage]:
    """Usage of a thousand keys of a hundred accounts, three models, at random."""
    owners = [(new_id(), f"key{number:07}") for number in range(KEYS // 10) for _ in range(10)]
    models = (("en_core_web_sm", "entities"), ("all-MiniLM-L6-v2", "embeddings"), ("echo", "echo"))
    chosen = random.Random(1)
    facts = []
    for _ in range(count):
        (account_id, key_id), (model, task) = chosen.choice(owners), chosen.choice(models)
        quantities = Quantities(
            input_tokens=chosen.randrange(500),
            input_words=chosen.randrange(400),
            input_characters=chosen.randrange(2_000),
            device_ms=chosen.randrange(50),
        )
        facts.append(
            Usage(
                request_id=new_id(),
                account_id=account_id,
                key_id=key_id,
                model=model,
                task=task,
                quantities=quantities,
                plan="pay-as-you-go",
                rates={"input_words": 1_000},
            )
        )
    return facts


async def measure_fold() -> None:
    """Print the table, and check that nothing is missing or double."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        home.chmod(0o755)
        with (
            Postgres(home / "postgres", free_port()) as postgres,
            Nats(home / "nats", free_port()) as nats,
        ):
            events = some_events(EVENTS)
            statement = await _statement(postgres.create("statement"), events)
            copied = await _copied(postgres.create("copied"), events)
            single = await _single(postgres.create("single"), events[:SINGLE])
            await _fill(nats.url, [event.data for event in events])
            del events
            whole = [
                await _from_stream(nats.url, postgres.create(f"stream{consumers}"), consumers)
                for consumers in (1, 2)
            ]
    rows = {
        "the statement, one connection": statement,
        "COPY of the same batches, no totals": copied,
        "INSERT and commit of each, no totals": single,
        "from stream to commit, one consumer": whole[0],
        "from stream to commit, two consumers": whole[1],
    }
    print_table(
        f"Fold, {EVENTS:,} events of {KEYS:,} keys in batches of {BATCH:,}",
        ("", "events/s", "of COPY", "of single"),
        [
            (name, f"{rate:,.0f}", f"{rate / copied:.0%}", f"{rate / single:.1f}")
            for name, rate in rows.items()
        ],
    )


def some_events(count: int) -> Sequence[UsageEvent]:
    """The same as events of one edge."""
    epoch = new_id()
    return [
        usage.recorded(fact, Numbered(epoch=epoch, sequence=number))
        for number, fact in enumerate(some_usage(count), start=1)
    ]


async def _statement(url: str, events: Sequence[UsageEvent]) -> float:
    await asyncio.to_thread(migrate, url)
    connection = await asyncpg.connect(url)
    rates = []
    for start in range(0, len(events), len(events) // 5):
        part = events[start : start + len(events) // 5]
        started = time.perf_counter()
        for offset in range(0, len(part), BATCH):
            await fold_usage(connection, part[offset : offset + BATCH])
        rates.append(len(part) / (time.perf_counter() - started))
    await _check(connection)
    await connection.close()
    return statistics.median(rates)


def _row(event: UsageEvent) -> Sequence[Any]:
    fact = event.data
    quantities = (getattr(fact.quantities, name) for name in Quantities.__struct_fields__)
    key = (fact.started_at, fact.request_id, fact.part, False)
    names = (fact.account_id, fact.key_id, fact.model, fact.task, fact.status, fact.duration_ms)
    return (*key, *names, event.edge.epoch, event.sequence, *quantities)


COLUMNS: Final = (
    *("started_at", "request_id", "part", "voids"),
    *("account_id", "key_id", "model", "task", "status", "duration_ms"),
    *("epoch", "sequence", *Quantities.__struct_fields__),
)


async def _copied(url: str, events: Sequence[UsageEvent]) -> float:
    await asyncio.to_thread(migrate, url)
    connection = await asyncpg.connect(url)
    started = time.perf_counter()
    for offset in range(0, len(events), BATCH):
        rows = [_row(event) for event in events[offset : offset + BATCH]]
        await connection.copy_records_to_table("usage_events", records=rows, columns=COLUMNS)
    rate = len(events) / (time.perf_counter() - started)
    await connection.close()
    return rate


async def _single(url: str, events: Sequence[UsageEvent]) -> float:
    await asyncio.to_thread(migrate, url)
    connection = await asyncpg.connect(url)
    places = ", ".join(f"${number}" for number in range(1, len(COLUMNS) + 1))
    statement = await connection.prepare(
        f"INSERT INTO usage_events ({', '.join(COLUMNS)}) VALUES ({places})"
    )
    started = time.perf_counter()
    for event in events:
        await statement.fetch(*_row(event))
    rate = len(events) / (time.perf_counter() - started)
    await connection.close()
    return rate


async def _fill(nats_url: str, facts: Sequence[Usage]) -> None:
    client = await broker.connect(nats_url, "bench")
    await streams.prepare(client, streams.Sizes())
    meter = Meter(client, publish_timeout_s=30)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(meter.run())
        for offset in range(0, len(facts), 10_000):
            await asyncio.gather(*map(meter.record, facts[offset : offset + 10_000]))
        meter.close()
    await client.close()


async def _from_stream(nats_url: str, database_url: str, consumers: int) -> float:
    """Start consumers as `tollgate consume` on a full stream, and wait for them."""
    await asyncio.to_thread(migrate, database_url)
    client = await broker.connect(nats_url, "bench")
    with suppress(NotFoundError):  # from the beginning
        await client.jetstream().delete_consumer(streams.USAGE, "usage_fold")
    await client.close()
    connection = await asyncpg.connect(database_url)
    rate = await drain(
        connection,
        "SELECT coalesce(sum(requests), 0)::int FROM usage_totals",
        {"TOLLGATE_NATS_URL": nats_url, "TOLLGATE_DATABASE_URL": database_url},
        consumers=consumers,
        events=EVENTS,
    )
    await _check(connection)
    await connection.close()
    return rate


async def _check(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    events = await connection.fetchval("SELECT count(*) FROM usage_events")
    totals = await connection.fetchval("SELECT sum(requests) FROM usage_totals")
    assert events == totals == EVENTS, (events, totals)


if __name__ == "__main__":
    asyncio.run(measure_fold())

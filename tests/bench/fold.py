"""Usage events a second into the ledger: the statement alone, and from the stream."""

import asyncio
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import asyncpg

from deploy.local.nats import Nats
from deploy.local.ports import free_port
from deploy.local.postgres import Postgres
from edge.metering import Meter
from events import broker, streams, usage
from events.ids import new_id
from events.usage import Numbered, Quantities, Usage, UsageEvent
from ledger.migrate import migrate
from ledger.usage import fold_usage
from tests.bench.table import print_table

EVENTS: Final = 200_000
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
            statement = await _statement(postgres.create("statement"))
            whole = await _from_stream(nats.url, postgres.create("stream"))
    print_table(
        f"Fold, {EVENTS:,} events of {KEYS:,} keys in batches of {BATCH:,}",
        ("", "events/s"),
        [
            ("the statement, one connection", f"{statement:,.0f}"),
            ("from stream to commit, one consumer", f"{whole:,.0f}"),
        ],
    )


async def _statement(url: str) -> float:
    await asyncio.to_thread(migrate, url)
    epoch = new_id()
    events: list[UsageEvent] = [
        usage.recorded(fact, Numbered(epoch=epoch, sequence=number))
        for number, fact in enumerate(some_usage(EVENTS), start=1)
    ]
    connection = await asyncpg.connect(url)
    rates = []
    for start in range(0, EVENTS, EVENTS // 5):
        started = time.perf_counter()
        part = events[start : start + EVENTS // 5]
        for offset in range(0, len(part), BATCH):
            await fold_usage(connection, part[offset : offset + BATCH])
        rates.append(len(part) / (time.perf_counter() - started))
    await _check(connection)
    await connection.close()
    return statistics.median(rates)


async def _from_stream(nats_url: str, database_url: str) -> float:
    """Fill the stream, then start one consumer as `tollgate consume`, and wait for it."""
    await asyncio.to_thread(migrate, database_url)
    client = await broker.connect(nats_url, "bench")
    await streams.prepare(client, streams.Sizes())
    meter = Meter(client, publish_timeout_s=30)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(meter.run())
        facts = some_usage(EVENTS)
        for offset in range(0, EVENTS, 10_000):
            await asyncio.gather(*map(meter.record, facts[offset : offset + 10_000]))
        meter.close()
    await client.close()
    connection = await asyncpg.connect(database_url)
    environment = {
        **os.environ,
        "TOLLGATE_NATS_URL": nats_url,
        "TOLLGATE_DATABASE_URL": database_url,
    }
    consumer = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "deploy.cli", "consume", env=environment
    )
    try:
        count, query = 0, "SELECT coalesce(sum(requests), 0)::int FROM usage_totals"
        while not (count := await connection.fetchval(query)):
            await asyncio.sleep(0.005)
        started, first = time.perf_counter(), count
        while (count := await connection.fetchval(query)) < EVENTS:
            await asyncio.sleep(0.05)
        rate: float = (EVENTS - first) / (time.perf_counter() - started)
    finally:
        consumer.terminate()
        await consumer.wait()
    await _check(connection)
    await connection.close()
    return rate


async def _check(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    events = await connection.fetchval("SELECT count(*) FROM usage_events")
    totals = await connection.fetchval("SELECT sum(requests) FROM usage_totals")
    assert events == totals == EVENTS, (events, totals)


if __name__ == "__main__":
    asyncio.run(measure_fold())

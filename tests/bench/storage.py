"""What an index and the aggregates cost the fold, and what a million events take of the disk."""

import asyncio
import statistics
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from uuid import UUID

import asyncpg
from msgspec.structs import replace

from deploy.local.ports import free_port
from deploy.local.postgres import Postgres
from events import usage
from events.ids import new_id
from events.usage import Numbered, UsageEvent
from ledger.migrate import migrate
from ledger.usage import fold_usage
from tests.bench.fold import BATCH, KEYS, some_usage
from tests.bench.table import print_table
from tests.ledger.editions.community import Community

ROUNDS: Final = 200
EVENTS: Final = 200_000
DAY: Final = timedelta(days=1)
NO_INDEX: Final = "DROP INDEX usage_events_account_id_started_at_idx"
NO_AGGREGATES: Final = """
DROP VIEW usage_by_minute, usage_by_hour, usage_by_day, usage_by_month;
DROP MATERIALIZED VIEW usage_months;
DROP MATERIALIZED VIEW usage_days;
DROP MATERIALIZED VIEW usage_hours;
DROP MATERIALIZED VIEW usage_minutes
"""
BYTES: Final = "SELECT sum(total_bytes)::bigint FROM chunks_detailed_size($1::regclass)"
MATERIALIZED: Final = """
SELECT format('%I.%I', materialization_hypertable_schema, materialization_hypertable_name)
FROM timescaledb_information.continuous_aggregates WHERE view_name = $1
"""


async def measure_storage() -> None:
    """Print the tables."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        home.chmod(0o755)
        with Postgres(home / "postgres", free_port()) as postgres:
            urls = [postgres.create(name) for name in ("without", "with")]
            index = await _by_turns(urls, NO_INDEX)
        with (
            Community(home / "one", free_port()) as without,
            Community(home / "other", free_port()) as with_them,
        ):
            aggregates = await _by_turns([without.url, with_them.url], NO_AGGREGATES)
        with Community(home / "disk", free_port()) as server:
            disk = await _disk(server.url)
    print_table(
        f"The fold by turns, {ROUNDS} batches of {BATCH:,}, medians, events/s",
        ("", "without", "with"),
        [
            ("index on account and time, Apache", *(f"{rate:,.0f}" for rate in index)),
            ("aggregates, Community (WebAssembly)", *(f"{rate:,.0f}" for rate in aggregates)),
        ],
    )
    print_table(
        f"Disk, {EVENTS:,} events of {KEYS:,} keys within a day, MB for a million events",
        ("", "rows", "MB", "compressed"),
        disk,
    )


async def _by_turns(urls: Sequence[str], spoil: str) -> Sequence[float]:
    """Fold the same batches into two ledgers, of which the first lacks something."""
    connections = []
    for url in urls:
        await asyncio.to_thread(migrate, url)
        connections.append(await asyncpg.connect(url))
    await connections[0].execute(spoil)
    events = _events([new_id() for _ in range(ROUNDS * BATCH)])
    took: list[list[float]] = [[], []]
    for number in range(ROUNDS):
        batch = events[number * BATCH : (number + 1) * BATCH]
        for which in (0, 1) if number % 2 else (1, 0):
            started = time.perf_counter()
            await fold_usage(connections[which], batch)
            took[which].append(time.perf_counter() - started)
    for connection in connections:
        await connection.close()
    return [BATCH / statistics.median(times) for times in took]


async def _disk(url: str) -> Sequence[Sequence[str]]:
    await asyncio.to_thread(migrate, url)
    connection = await asyncpg.connect(url)
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - 40 * DAY
    first = int(midnight.timestamp() * 1_000)
    step = DAY // timedelta(milliseconds=1) / EVENTS
    ids = [
        UUID(int=first + round(n * step) << 80 | new_id().int & (1 << 80) - 1)
        for n in range(EVENTS)
    ]
    events = _events(ids)
    for start in range(0, EVENTS, BATCH):
        await fold_usage(connection, events[start : start + BATCH])
    rows = []
    for table in ("usage_events", "usage_minutes", "usage_hours"):
        if table != "usage_events":
            await connection.execute(f"CALL refresh_continuous_aggregate('{table}', NULL, NULL)")
        stored = await connection.fetchval(MATERIALIZED, table) or table
        count = await connection.fetchval(f"SELECT count(*) FROM {table}")
        sizes = [await connection.fetchval(BYTES, stored)]
        if table != "usage_hours":
            await connection.execute(f"SELECT compress_chunk(c) FROM show_chunks('{table}') c")
            sizes.append(await connection.fetchval(BYTES, stored))
        shown = [f"{size / EVENTS:,.0f}" for size in sizes]
        rows.append((table, f"{count:,}", shown[0], shown[1] if len(shown) > 1 else ""))
    await connection.close()
    return rows


def _events(ids: Sequence[UUID]) -> Sequence[UsageEvent]:
    epoch = new_id()
    return [
        usage.recorded(replace(fact, request_id=request_id), Numbered(epoch=epoch, sequence=number))
        for number, (fact, request_id) in enumerate(
            zip(some_usage(len(ids)), ids, strict=True), start=1
        )
    ]


if __name__ == "__main__":
    asyncio.run(measure_storage())

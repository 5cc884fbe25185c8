"""How long a usage report takes, in a ledger of twenty million events.

Ten thousand accounts, very unequal: the first has 7 % of all events, half of them have
1 % together. A tenth of the events is loaded first, and everything is measured twice:
what takes longer with ten times the events grows with the table.
"""

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import asyncpg
from msgspec.structs import replace

from deploy.local.ports import free_port
from deploy.local.postgres import Postgres
from ledger.db import Connection, acquire, create_pool
from ledger.migrate import migrate
from ledger.questions import Wanted, read_question
from ledger.reports import report_usage
from tests.bench.table import print_table

EVENTS: Final = 20_000_000
ACCOUNTS: Final = 10_000
DAYS: Final = 30
RUNS: Final = 60
END: Final = datetime(2026, 11, 1, tzinfo=UTC)
START: Final = END - timedelta(days=DAYS)

# account n has a share of 1/n; keys, models and statuses as a small customer's may be
LOAD: Final = """
INSERT INTO usage_events (
    started_at, request_id, part, voids, account_id, key_id, model, task, status, duration_ms,
    epoch, sequence, requests, input_tokens, output_tokens, input_words, output_words,
    input_characters, output_characters, device_ms, cost
)
SELECT
    $1::timestamptz + random() * interval '1 day', gen_random_uuid(), 0, false,
    lpad(to_hex(power($3::integer, random())::integer), 32, '0')::uuid,
    'key' || (random() * 2)::integer, (ARRAY['a', 'b', 'c'])[1 + (random() * 2)::integer],
    'task', 200, 1 + (random() * 200)::integer, '00000000-0000-7000-8000-000000000000', number,
    1, 20, 40, 15, 30, 90, 180, 12, 1000
FROM generate_series(1, $2::bigint) AS number
"""
TOTALS: Final = """
INSERT INTO usage_totals
SELECT
    account_id, date_trunc('hour', started_at, 'UTC'), key_id, model, task, status,
    sum(requests), sum(input_tokens), sum(output_tokens), sum(input_words), sum(output_words),
    sum(input_characters), sum(output_characters), sum(device_ms), sum(cost), sum(errors)
FROM usage_events GROUP BY 1, 2, 3, 4, 5, 6
"""
HOURS: Final = {"bucket": "hour"}
MONTH: Final = {"bucket": "month", "since": START}
OF_ONE: Final[Sequence[tuple[str, dict[str, Any]]]] = (
    ("an hour by minute", {"bucket": "minute", "since": END - timedelta(hours=1)}),
    ("a day by minute", {"bucket": "minute", "since": END - timedelta(days=1)}),
    ("two days by hour", {"bucket": "hour", "since": END - timedelta(days=2)}),
    ("a month by hour", {"bucket": "hour", "since": START}),
    ("a month by day", {"since": START}),
    ("a month by day and model", {"since": START, "group_by": ["model"]}),
    (
        "a month by day, key, model, status",
        {"since": START, "group_by": ["key", "model", "status"]},
    ),
    ("a year by month", {"bucket": "month", "since": END - timedelta(days=365)}),
    (
        "an hour with latencies",
        {"bucket": "hour", "since": END - timedelta(hours=1), "latency": True},
    ),
    ("a day with latencies", {"bucket": "hour", "since": END - timedelta(days=1), "latency": True}),
)
OF_ALL: Final[Sequence[tuple[str, dict[str, Any]]]] = (
    (
        "top customers of a month",
        {"bucket": "month", "since": START, "group_by": ["account"], "top": "cost"},
    ),
    (
        "top models of a month",
        {"bucket": "month", "since": START, "group_by": ["model"], "top": "requests"},
    ),
)


async def measure_reports(events: int = EVENTS) -> None:
    """Print a table for each size."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        home.chmod(0o755)
        with Postgres(home / "postgres", free_port()) as postgres:
            url = postgres.create("reports")
            await asyncio.to_thread(migrate, url)
            for number in (events // 10, events - events // 10):
                await load(url, number)
                async with create_pool(url) as pool, acquire(pool) as connection:
                    await _measure(connection)


async def load(url: str, events: int) -> None:
    """Add events, and their totals, to a ledger."""
    connection = await asyncpg.connect(url)
    await connection.execute("SET synchronous_commit = off")
    for day in range(DAYS):
        start = START + timedelta(days=day)
        await connection.execute(LOAD, start, events // DAYS, ACCOUNTS, timeout=3_600)
    await connection.execute("TRUNCATE usage_totals")
    await connection.execute(TOTALS, timeout=3_600)
    await connection.execute("VACUUM ANALYZE", timeout=3_600)
    await connection.close()


async def _measure(connection: Connection) -> None:
    events = await connection.fetchval("SELECT sum(requests) FROM usage_totals")
    totals = await connection.fetchval("SELECT count(*) FROM usage_totals")
    size = await connection.fetchval("SELECT pg_database_size(current_database())")
    rows = []
    for name, wanted in OF_ONE:
        cells = [name]
        for account in (1, 100, 5_000):
            cells += await _time(connection, wanted, UUID(int=account))
        rows.append(cells)
    for name, wanted in OF_ALL:
        rows.append([name, *await _time(connection, wanted, None), "", "", "", ""])
    print_table(
        f"Reports over {events:,} events of {ACCOUNTS:,} accounts, {totals:,} totals, "
        f"{size / 1e9:.1f} GB; ms p50/p99 and rows, of the largest account, the 100th, the 5,000th",
        ("", "largest", "rows", "100th", "rows", "5,000th", "rows"),
        rows,
    )


async def _time(
    connection: Connection, wanted: dict[str, Any], account_id: UUID | None
) -> list[str]:
    question = read_question(Wanted(**{"until": END, "limit": 1_000, **wanted}), now=END)
    question = replace(question, account_id=account_id)
    times = []
    for _ in range(RUNS if account_id else 3):
        started = time.perf_counter()
        report = await report_usage(connection, question)
        times.append(1_000 * (time.perf_counter() - started))
    worst = statistics.quantiles(times, n=100, method="inclusive")[-1]
    return [f"{statistics.median(times):.1f}/{worst:.1f}", f"{len(report.rows):,}"]


if __name__ == "__main__":
    asyncio.run(measure_reports(*map(int, sys.argv[1:])))

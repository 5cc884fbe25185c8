"""How long it takes to find out what Stripe's meters are to be told."""

import asyncio
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import asyncpg

from deploy.local.ports import free_port
from deploy.local.postgres import Postgres
from events.meters import Meter
from ledger.migrate import migrate
from ledger.stripe.meters import freeze
from ledger.verification import HOUR
from tests.bench.reports import ACCOUNTS, DAYS, END, load
from tests.bench.table import print_table

EVENTS: Final = 2_000_000
CUSTOMERS: Final = """
INSERT INTO accounts (id, name, stripe_customer)
SELECT DISTINCT account_id, '', 'cus_' || account_id FROM usage_totals
"""
LATE: Final = """
UPDATE usage_totals SET output_words = output_words + 1 WHERE hour >= $1
"""


async def measure_metering(events: int = EVENTS) -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        home.chmod(0o755)
        with Postgres(home / "postgres", free_port()) as postgres:
            url = postgres.create("metering")
            await asyncio.to_thread(migrate, url)
            await load(url, events)
            connection = await asyncpg.connect(url)
            await connection.execute(CUSTOMERS)
            rows = [
                await _freeze(connection, "a month, the first time"),
                await _freeze(connection, "nothing new"),
            ]
            await connection.execute("VACUUM ANALYZE")
            rows.append(await _freeze(connection, "nothing new, vacuumed"))
            await connection.execute(LATE, END - HOUR)
            rows.append(await _freeze(connection, "an hour's corrections"))
            size = await connection.fetchval("SELECT pg_total_relation_size('stripe_meter_events')")
            count = await connection.fetchval("SELECT count(*) FROM stripe_meter_events")
            await connection.close()
    print_table(
        f"Freezing {DAYS} days of {events:,} events of {ACCOUNTS:,} customers for one meter; "
        f"{size / count:.0f} bytes an event",
        ("", "meter events", "s"),
        rows,
    )


async def _freeze(
    connection: "asyncpg.Connection[asyncpg.Record]", name: str
) -> tuple[str, str, str]:
    started = time.perf_counter()
    events = await freeze(connection, Meter(event_name="words", unit="output_words"), END + HOUR)
    return name, f"{events:,}", f"{time.perf_counter() - started:.1f}"


if __name__ == "__main__":
    asyncio.run(measure_metering(*map(int, sys.argv[1:])))

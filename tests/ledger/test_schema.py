import asyncio
import signal
import sys
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from uuid import uuid4

import asyncpg
import psycopg
import pytest

from deploy.local.ports import free_port
from deploy.local.postgres import Postgres
from ledger import _sql
from ledger.db import Connection
from ledger.errors import LedgerUnavailable
from ledger.migrate import migrate, pending
from ledger.usage import fold_usage
from tests.ledger.editions.plain import Plain
from tests.usage import a_usage, recorded

SQL = Path(str(files("ledger").joinpath("sql")))
# what there is, apart from yoyo's own and what TimescaleDB adds to a hypertable
CATALOG = """
SELECT 'column', attrelid::regclass::text, attname::text, attnotnull::text,
    format_type(atttypid, atttypmod),
    coalesce((SELECT collname::text FROM pg_collation WHERE oid = attcollation), ''),
    coalesce(pg_get_expr(adbin, adrelid), '')
FROM pg_attribute
    JOIN pg_class ON pg_class.oid = attrelid AND relkind IN ('r', 'v')
    LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
WHERE attnum > 0 AND NOT attisdropped
    AND relnamespace IN ('public'::regnamespace, 'tenant'::regnamespace)
    AND relname NOT LIKE '%yoyo%'
UNION ALL
SELECT 'index', tablename::text, indexname::text, indexdef, '', '', ''
FROM pg_indexes
WHERE schemaname = 'public' AND tablename NOT LIKE '%yoyo%'
UNION ALL
SELECT 'constraint', conrelid::regclass::text, conname::text, pg_get_constraintdef(oid), '', '', ''
FROM pg_constraint
WHERE connamespace = 'public'::regnamespace AND conrelid::regclass::text NOT LIKE '%yoyo%'
UNION ALL
SELECT 'options', oid::regclass::text, reloptions::text, '', '', '', ''
FROM pg_class
WHERE relnamespace IN ('public'::regnamespace, 'tenant'::regnamespace) AND reloptions IS NOT NULL
ORDER BY 1, 2, 3
"""


@pytest.fixture
def empty_url(postgres: Postgres, postgres_url: str) -> Iterator[str]:
    """A database without anything."""
    name = f"empty_{uuid4().hex}"
    with psycopg.connect(postgres_url, autocommit=True) as session:
        session.execute(f"CREATE DATABASE {name}")
        yield postgres.url(name)
        session.execute(f"DROP DATABASE {name} WITH (FORCE)")


async def test_each_statement_fits_the_schema(ledger: Connection) -> None:
    for folder in (SQL, SQL.joinpath("apache")):
        for file in folder.iterdir():
            if file.is_file():
                for statement in _sql.load(str(file.relative_to(SQL))).values():
                    await ledger.prepare(statement)


async def test_the_migrations_make_the_picture(ledger: Connection, empty_url: str) -> None:
    drawn = await asyncpg.connect(empty_url)
    await drawn.execute(files("ledger").joinpath("schema.sql").read_text())

    assert await drawn.fetch(CATALOG) == await ledger.fetch(CATALOG)
    await drawn.close()


async def test_usage_events_are_a_hypertable_where_there_is_timescale(ledger: Connection) -> None:
    row = await ledger.fetchrow(
        "SELECT hypertable_name, column_name, time_interval::text "
        "FROM timescaledb_information.dimensions"
    )

    assert row
    assert tuple(row) == ("usage_events", "started_at", "1 day")


async def test_plain_postgresql_has_the_same_schema(ledger: Connection, tmp_path: Path) -> None:
    with Plain(tmp_path / "plain", free_port()) as server:
        url = server.create("plain")
        await asyncio.to_thread(migrate, url)
        plain = await asyncpg.connect(url)

        assert await plain.fetch(CATALOG) == await ledger.fetch(CATALOG)
        assert await fold_usage(plain, [recorded(a_usage())]) == 1
        await plain.close()


def test_migrations_are_applied_once(empty_url: str) -> None:
    missing = pending(empty_url)

    assert missing
    assert migrate(empty_url) == missing
    assert migrate(empty_url) == []
    assert pending(empty_url) == []


async def test_two_at_once_share_the_work(empty_url: str) -> None:
    missing = await asyncio.to_thread(pending, empty_url)

    applied = await asyncio.gather(*[asyncio.to_thread(migrate, empty_url) for _ in range(3)])

    assert sorted(name for names in applied for name in names) == sorted(missing)


async def test_a_killed_migration_leaves_no_lock(empty_url: str) -> None:
    script = f"import ledger.migrate as m, time\nwith m._backend({empty_url!r}) as (b, _):\n"
    script += "    b._insert_lock_row(1, 1)\n    print('locked', flush=True)\n    time.sleep(600)"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout
    assert await process.stdout.readline() == b"locked\n"
    process.send_signal(signal.SIGKILL)
    await process.wait()

    assert await asyncio.to_thread(migrate, empty_url)


async def test_migrations_wait_briefly_and_bear_a_second_run_each_in_its_place(
    empty_url: str,
) -> None:
    connection = await asyncpg.connect(empty_url)
    for migration in sorted(files("ledger").joinpath("migrations").iterdir(), key=str):
        text = migration.read_text()
        assert "SET LOCAL lock_timeout" in text, migration
        for _ in range(2):
            async with connection.transaction():
                await connection.execute(text)
    await connection.close()


def test_a_server_that_is_away_is_said_so() -> None:
    with pytest.raises(LedgerUnavailable):
        migrate("postgresql://postgres@127.0.0.1:1/nothing")

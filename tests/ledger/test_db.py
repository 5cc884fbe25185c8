import asyncio

import asyncpg
import pytest

from ledger.db import Connection, acquire, create_pool, only_one
from ledger.errors import LedgerUnavailable, RefusedByLedger
from tests.link import linked
from tests.waiting import until


async def test_a_pool_opens_before_its_server_and_works_after(database_url: str) -> None:
    async with linked(database_url) as (link, url):
        link.cut()
        pool = await create_pool(url)
        with pytest.raises(LedgerUnavailable):
            async with acquire(pool):
                pass

        link.restore()

        async with acquire(pool) as connection:
            assert await connection.fetchval("SELECT 1") == 1
        await pool.close()


async def test_a_connection_that_breaks_is_unavailable_and_the_next_one_works(
    database_url: str,
) -> None:
    async with linked(database_url) as (link, url):
        pool = await create_pool(url)
        with pytest.raises(LedgerUnavailable):  # noqa: PT012 - what is inside breaks, and not the entering
            async with acquire(pool) as connection:
                link.restore()  # breaks what is open
                await connection.fetchval("SELECT 1")

        async with acquire(pool) as connection:
            assert await connection.fetchval("SELECT 1") == 1
        await pool.close()


async def test_a_pool_that_is_used_up_says_so(database_url: str) -> None:
    pool = await create_pool(database_url, maximum=1)
    async with acquire(pool):
        with pytest.raises(LedgerUnavailable):
            async with acquire(pool, timeout_s=0.05):
                pass
    await pool.close()


@pytest.mark.parametrize(
    ("query", "value"),
    [
        ("SELECT $1::text", "a\0b"),
        ("SELECT $1::jsonb", r'"a\u0000b"'),
        ("SELECT $1::bigint", 2**63),
        ("SELECT $1::jsonb", "[" * 50_000 + "]" * 50_000),
    ],
)
async def test_values_that_postgresql_never_takes_are_refused(
    database_url: str, query: str, value: object
) -> None:
    pool = await create_pool(database_url)
    with pytest.raises(RefusedByLedger):
        async with acquire(pool) as connection:
            await connection.fetchval(query, value)
    await pool.close()


async def test_a_demoted_server_is_left(database_url: str) -> None:
    pool = await create_pool(database_url)
    with pytest.raises(LedgerUnavailable):  # noqa: PT012 - what is inside breaks, and not the entering
        async with acquire(pool) as connection:
            await connection.execute("SET default_transaction_read_only = on")
            await connection.execute("CREATE TABLE t ()")
    async with acquire(pool) as connection:
        await connection.execute("CREATE TABLE t ()")
    await pool.close()


async def test_an_outer_deadline_passes_through(database_url: str) -> None:
    pool = await create_pool(database_url)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05), acquire(pool) as connection:
            await connection.execute("SELECT pg_sleep(5)")
    await pool.close()


async def test_only_one_at_a_time_does_what_has_a_name(
    ledger: Connection, database_url: str
) -> None:
    other = await asyncpg.connect(database_url)

    async with (
        only_one(ledger, "a") as first,
        only_one(other, "a") as second,
        only_one(other, "b") as another_name,
    ):
        assert (first, second, another_name) == (True, False, True)
    async with only_one(other, "a") as after:
        assert after
    await other.close()


async def test_the_turn_passes_on_after_a_failure_and_with_a_lost_connection(
    ledger: Connection, database_url: str
) -> None:
    other = await asyncpg.connect(database_url)
    with pytest.raises(ZeroDivisionError):
        async with only_one(other, "a"):
            _ = 1 / 0
    async with only_one(ledger, "a") as after_a_failure:
        assert after_a_failure

    async with only_one(other, "a") as ours:
        assert ours
        other.terminate()

        async def passed_on() -> bool:
            async with only_one(ledger, "a") as after_a_loss:
                return after_a_loss

        await until(passed_on)

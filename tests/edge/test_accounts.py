"""What an edge knows of accounts and keys, and how it hears of changes."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import asyncpg
import pytest
from nats.aio.client import Client

from consumers.outbox import Relay
from edge.accounts import FRESH_S, Accounts
from events import broker, streams
from events.accounts import AccountChanged, encode
from events.direct import Direct
from ledger import key_format
from ledger.accounts import change_account, create_account, find_account, grant_credit
from ledger.api_keys import create_key, revoke_key
from ledger.db import Connection, Pool, create_pool
from ledger.errors import LedgerUnavailable
from tests.link import linked
from tests.waiting import until

SECRET = b"a secret of the server's"


@asynccontextmanager
async def knowing(
    nats_url: str, pool: Pool, *, clock: Callable[[], float] = time.monotonic
) -> AsyncIterator[Accounts]:
    """An edge's part that knows accounts; with a clock of its own it hears nothing by itself."""
    connection = await broker.connect(nats_url, "tests")
    direct = Direct(connection)
    await direct.start()
    accounts = Accounts(connection, direct, pool, clock=clock)
    await accounts.start()
    tasks = [asyncio.create_task(accounts.look_up())]
    if clock is time.monotonic:
        tasks.append(asyncio.create_task(accounts.watch()))
    try:
        yield accounts
    finally:
        for task in tasks:
            task.cancel()
        await connection.close()


@pytest.fixture
async def pool(nats: Client, database_url: str) -> AsyncIterator[Pool]:
    """The ledger, with a relay that publishes what it announces."""
    await streams.prepare(nats, streams.Sizes())
    stop = asyncio.Event()
    async with create_pool(database_url) as pool:
        relay = asyncio.create_task(Relay(nats, pool).work(stop))
        yield pool
        stop.set()
        await relay


async def a_key(ledger: Connection) -> tuple[str, bytes]:
    account = await create_account(ledger, "tests")
    key, plain = await create_key(ledger, account.id, "", SECRET)
    return key.id, key_format.digest(plain, SECRET)


async def test_changes_are_heard_of_by_every_edge(
    nats_url: str, pool: Pool, ledger: Connection
) -> None:
    key_id, digest = await a_key(ledger)
    async with knowing(nats_url, pool) as one, knowing(nats_url, pool) as other:
        for edge in (one, other):
            found = await edge.find(digest)
            assert found
            assert (found[0].plan, found[0].credit) == ("default", 0)
            account_id = found[0].id
        await change_account(ledger, account_id, {"plan": "better"})
        await grant_credit(ledger, account_id, 7, "a gift")
        await revoke_key(ledger, key_id)
        for edge in (one, other):
            await until(lambda: _is_revoked(edge, digest))  # noqa: B023 - awaited in the loop
            found = await edge.find(digest)
            assert found
            assert (found[0].plan, found[0].credit) == ("better", 7)


async def _is_revoked(edge: Accounts, digest: bytes) -> bool:
    found = await edge.find(digest)
    return bool(found and found[1].revoked_at)


async def test_an_edge_that_was_away_catches_up(
    nats_url: str, pool: Pool, ledger: Connection
) -> None:
    key_id, digest = await a_key(ledger)
    async with linked(nats_url) as (link, url), knowing(url, pool) as edge:
        assert not await _is_revoked(edge, digest)
        link.cut()
        await revoke_key(ledger, key_id)
        await until(lambda: _outbox_is_empty(ledger))
        link.restore()

        await until(lambda: _is_revoked(edge, digest))


async def _outbox_is_empty(ledger: Connection) -> bool:
    return not await ledger.fetchval("SELECT count(*) FROM outbox")


async def test_cut_off_from_the_broker_it_looks_up_again_what_it_knew(
    nats_url: str, pool: Pool, ledger: Connection
) -> None:
    """And does not trust it for longer than it says."""
    key_id, digest = await a_key(ledger)
    now = 0.0
    async with knowing(nats_url, pool, clock=lambda: now) as edge:
        assert not await _is_revoked(edge, digest)
        # without a word, as if that could not get through
        await ledger.execute("UPDATE api_keys SET revoked_at = now() WHERE id = $1", key_id)
        now = FRESH_S - 0.1
        assert not await _is_revoked(edge, digest)
        now = FRESH_S + 0.1

        assert await _is_revoked(edge, digest)


async def test_a_new_stream_makes_it_forget_what_the_old_one_said(
    nats: Client, nats_url: str, pool: Pool, ledger: Connection
) -> None:
    key_id, digest = await a_key(ledger)
    await until(lambda: _outbox_is_empty(ledger))
    async with knowing(nats_url, pool) as edge:
        assert not await _is_revoked(edge, digest)
        # a key revoked without a word, as when the broker lost its disk
        await ledger.execute("UPDATE api_keys SET revoked_at = now() WHERE id = $1", key_id)
        await nats.jetstream().delete_stream(streams.ACCOUNTS)
        await streams.prepare(nats, streams.Sizes())

        await until(lambda: _is_revoked(edge, digest))


async def test_of_two_words_the_newer_is_true_whichever_comes_last(
    nats: Client, nats_url: str, pool: Pool, ledger: Connection
) -> None:
    _, digest = await a_key(ledger)
    async with knowing(nats_url, pool) as edge:
        found = await edge.find(digest)
        assert found
        old = await find_account(ledger, found[0].id)
        assert old
        await change_account(ledger, old.id, {"plan": "better"})
        await until(lambda: _has_plan(edge, digest, "better"))
        stale = AccountChanged(old)
        await nats.jetstream().publish(stale.subject, encode(stale))
        await edge.catch_up()

        assert await _has_plan(edge, digest, "better")


async def _has_plan(edge: Accounts, digest: bytes, plan: str) -> bool:
    found = await edge.find(digest)
    return bool(found and found[0].plan == plan)


@pytest.mark.usefixtures("pool")
async def test_a_storm_of_unknown_keys_is_a_few_queries(
    nats_url: str, ledger: Connection, database_url: str
) -> None:
    queries = 0

    def count(record: asyncpg.connection.LoggedQuery) -> None:
        nonlocal queries
        queries += "ANY($1::bytea[])" in record.query

    async def watched(connection: Connection) -> None:
        connection.add_query_logger(count)

    _, digest = await a_key(ledger)
    unknown = [secrets.token_bytes(32) for _ in range(1_000)]
    async with (
        asyncpg.create_pool(database_url, min_size=0, max_size=4, setup=watched) as counted,
        knowing(nats_url, counted) as edge,
    ):
        for _ in range(2):
            answers = await asyncio.gather(*[edge.find(one) for one in (*unknown, digest)])
            assert [answer is not None for answer in answers] == [False] * 1_000 + [True]

    assert 0 < queries < 10


async def test_a_new_key_works_although_it_was_unknown_before(
    nats_url: str, pool: Pool, ledger: Connection
) -> None:
    account = await create_account(ledger, "tests")
    minted = key_format.mint(SECRET)
    async with knowing(nats_url, pool) as edge:
        assert await edge.find(minted.hash) is None
        await _insert(ledger, account.id, minted)
        assert await edge.find(minted.hash) is None  # nobody said so: it is remembered
        _, plain = await create_key(ledger, account.id, "", SECRET)

        assert await edge.find(key_format.digest(plain, SECRET)) is not None


async def _insert(ledger: Connection, account_id: object, minted: key_format.Minted) -> None:
    await ledger.execute(
        "INSERT INTO api_keys (id, account_id, hash, name) VALUES ($1, $2, $3, '')",
        minted.public_id,
        account_id,
        minted.hash,
    )


@pytest.mark.usefixtures("pool")
async def test_without_postgresql_what_is_known_works_and_what_is_not_waits(
    nats_url: str, ledger: Connection, database_url: str
) -> None:
    _, digest = await a_key(ledger)
    _, unseen = await a_key(ledger)
    async with (
        linked(database_url) as (link, url),
        create_pool(url) as cut_pool,
        knowing(nats_url, cut_pool) as edge,
    ):
        assert await edge.find(digest)
        link.cut()
        assert await edge.find(digest)
        with pytest.raises(LedgerUnavailable):
            await edge.find(unseen)

"""Requests a second over the whole road, next to the bare round trip."""

import asyncio
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import asyncpg
from msgspec import Struct

from deploy.local.nats import Nats
from deploy.local.ports import free_port
from ledger import accounts, api_keys
from ledger.db import acquire, create_pool
from tests.bench import baseline, wrk
from tests.bench.table import print_table
from tests.bench.wrk import Measured
from tests.system.system import System, running

KEYS: Final = 1_000
ROUNDS: Final = 5
SECONDS: Final = 6
CONNECTIONS: Final = (1, 64)
PATH: Final = "/v1/echo/echo"
BODY: Final = '{"text": "The quick brown fox jumps over the lazy dog."}'


class Subject(Struct, frozen=True):
    """Something that is driven."""

    url: str
    script: Path


async def measure_road() -> None:
    """Print the table, and check that every ledger adds up."""
    with tempfile.TemporaryDirectory() as folder:
        async with AsyncExitStack() as stack:
            home = Path(folder)
            synced = await stack.enter_async_context(running(home / "synced"))
            lazy_nats = stack.enter_context(Nats(home / "lazy-nats", free_port(), sync="2m"))
            environment = {"TOLLGATE_NATS_URL": lazy_nats.url}
            lazy = await stack.enter_async_context(running(home / "lazy", environment=environment))
            unlimited = await stack.enter_async_context(
                running(home / "unlimited", environment={"TOLLGATE_PLANS_FILE": ""})
            )
            bare = await stack.enter_async_context(baseline.running(home / "bare"))
            subjects = {
                "bare ASGI, one NATS round trip": Subject(
                    bare, wrk.script(home, "bare", keys=["none"], path=PATH, body=BODY)
                ),
                "tollgate up, echo": await _subject(synced, home / "synced.lua"),
                "the same, without limits": await _subject(unlimited, home / "unlimited.lua"),
                "the same, default fsync": await _subject(lazy, home / "lazy.lua"),
            }
            for connections in CONNECTIONS:
                results = await _rounds(subjects, connections)
                _print(connections, results)
            for name, system in (
                ("tollgate up", synced),
                ("without limits", unlimited),
                ("default fsync", lazy),
            ):
                await _check(name, system)


async def _subject(system: System, script: Path) -> Subject:
    keys = await make_keys(system)
    return Subject(
        system.url, wrk.script(script.parent, script.stem, keys=keys, path=PATH, body=BODY)
    )


async def make_keys(system: System) -> Sequence[str]:
    """A thousand keys of a hundred accounts."""
    secret = system.secret("key_secret").encode()
    keys = []
    async with create_pool(system.database_url) as pool, acquire(pool) as connection:
        for number in range(KEYS // 10):
            account = await accounts.create_account(connection, f"bench {number}")
            for _ in range(10):
                _, plain = await api_keys.create_key(connection, account.id, "", secret)
                keys.append(plain)
    return keys


async def _rounds(
    subjects: Mapping[str, Subject], connections: int
) -> Mapping[str, Sequence[Measured]]:
    """Every subject in turn, again and again: a noisy minute hits them all."""
    results: dict[str, list[Measured]] = {name: [] for name in subjects}
    for subject in subjects.values():  # caches and code paths
        await wrk.run(subject.url, subject.script, connections=connections, seconds=2)
    for _ in range(ROUNDS):
        for name, subject in subjects.items():
            measured = await wrk.run(
                subject.url, subject.script, connections=connections, seconds=SECONDS
            )
            assert measured.refused == measured.broken == 0, measured
            results[name].append(measured)
    return results


def _print(connections: int, results: Mapping[str, Sequence[Measured]]) -> None:
    base = next(iter(results.values()))
    rows = []
    for name, runs in results.items():
        ratios = [run.rate / other.rate for run, other in zip(runs, base, strict=True)]
        rows.append(
            (
                name,
                f"{statistics.median(run.rate for run in runs):,.0f}",
                f"{statistics.median(ratios):.0%}",
                f"{min(ratios):.0%} to {max(ratios):.0%}",
                f"{statistics.median(run.p50 for run in runs):.1f}",
                f"{statistics.median(run.p99 for run in runs):.1f}",
            )
        )
    print_table(
        f"{connections} connection{'s' if connections > 1 else ''}, "
        f"median of {ROUNDS} interleaved runs of {SECONDS} s",
        ("", "requests/s", "of bare", "range", "p50 ms", "p99 ms"),
        rows,
    )


async def _check(name: str, system: System) -> None:
    """Every event that was stored is in the ledger, once, and in the totals."""
    await system.settled()
    connection = await asyncpg.connect(system.database_url)
    events = await connection.fetchval("SELECT count(*) FROM usage_events")
    totals = await connection.fetchval("SELECT sum(requests) FROM usage_totals")
    await connection.close()
    client = await system.broker()
    stored = (await client.jetstream().stream_info("USAGE")).state.messages
    await client.close()
    print(f"{name}: {stored:,} usage events stored, {events:,} in the ledger, {totals:,} in totals")
    assert stored == events == totals


if __name__ == "__main__":
    wrk.install()
    asyncio.run(measure_road())

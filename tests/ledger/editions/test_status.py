"""`tollgate migrate --status`: what it sees on each edition, and what it says of it."""

import asyncio
import os
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import msgspec
import pytest
from msgspec.structs import replace

from ledger.ages import DEFAULT_DAYS, REFRESHED
from ledger.arrange import COMPRESSED_AFTER, DROPPED, REFRESHES
from ledger.checks import COLUMNSTORE, MIB, REFRESH, RETENTION, check
from ledger.editions import Edition
from ledger.migrate import migrate, pending
from ledger.status import ChunkFacts, Facts, JobFacts, ServerFacts, read_facts
from ledger.usage import fold_usage
from tests.usage import a_usage, recorded

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
DAY_S = 86_400.0


def a_job(number: int, policy: str, table: str, **changes: Any) -> JobFacts:
    job = JobFacts(
        id=number,
        policy=policy,
        table=table,
        scheduled=True,
        every_s=600.0,
        start_s=REFRESHED.total_seconds() if policy == REFRESH else None,
        after_s=DEFAULT_DAYS * DAY_S,
        last_status="Success",
        last_success=NOW - timedelta(minutes=5),
        last_error=None,
    )
    return replace(job, **changes)


JOBS = [
    *[a_job(n, REFRESH, refresh.aggregate) for n, refresh in enumerate(REFRESHES)],
    *[a_job(n, COLUMNSTORE, table) for n, table in enumerate(COMPRESSED_AFTER, start=4)],
    *[a_job(n, RETENTION, table) for n, table in enumerate(DROPPED, start=6)],
]
SERVER = ServerFacts(
    server=170011,
    timescaledb="2.23.0",
    license="timescale",
    shared_buffers=1_024 * MIB,
    worker_processes=32,
    parallel_workers=8,
    background_workers=16,
    locks_per_transaction=256,
    durable=True,
    databases=2,
    has_aggregates=True,
)
CHUNKS = ChunkFacts(
    interval_s=86_400, chunks=90, largest_bytes=500 * MIB, largest_index_bytes=200 * MIB
)
WELL = Facts(
    edition=Edition.COMMUNITY,
    server=SERVER,
    pending=(),
    retention_days=DEFAULT_DAYS,
    chunks=CHUNKS,
    jobs=JOBS,
    oldest_event=NOW - timedelta(days=DEFAULT_DAYS),
)


def server(**changes: Any) -> Facts:
    return replace(WELL, server=replace(SERVER, **changes))


def chunks(**changes: Any) -> Facts:
    return replace(WELL, chunks=replace(CHUNKS, **changes))


def job(number: int, **changes: Any) -> Facts:
    changed = [replace(one, **changes) if one.id == number else one for one in JOBS]
    return replace(WELL, jobs=changed)


def test_all_is_well() -> None:
    assert [one for one in check(WELL, NOW) if not one.ok] == []


DANGERS = {
    "migrations": replace(WELL, pending=["0009_more"]),
    "durability": server(durable=False),
    "versions": server(server=170012, timescaledb="2.29.2"),
    "edition": replace(WELL, edition=Edition.APACHE),
    "policies": replace(WELL, jobs=JOBS[1:]),
    "jobs": job(3, last_status="Failed", last_error="no space left"),
    "workers": server(background_workers=1),
}
MORE_DANGERS = [
    ("versions", server(server=170001)),
    ("policies", job(0, start_s=None)),
    ("policies", job(0, start_s=DEFAULT_DAYS * DAY_S)),
    ("policies", job(7, after_s=REFRESHED.total_seconds())),
    ("jobs", job(3, scheduled=False)),
    ("jobs", job(3, last_success=NOW - timedelta(days=2))),
    ("workers", server(background_workers=None)),
]
ADVICE = [
    ("policies", job(4, after_s=DAY_S)),
    ("policies", replace(WELL, retention_days=DEFAULT_DAYS + 1)),
    ("workers", server(background_workers=6)),
    ("workers", server(worker_processes=8)),
    ("memory", server(shared_buffers=16 * MIB)),
    ("memory", chunks(largest_index_bytes=300 * MIB)),
    ("locks", chunks(chunks=200)),
    ("retention", replace(WELL, oldest_event=NOW - timedelta(days=DEFAULT_DAYS + 3))),
    ("edition", replace(WELL, edition=Edition.PLAIN, server=replace(SERVER, has_aggregates=False))),
]


@pytest.mark.parametrize(("name", "facts"), [*DANGERS.items(), *MORE_DANGERS])
def test_what_endangers_data_is_said_with_how_to_mend_it(name: str, facts: Facts) -> None:
    dangers = [one for one in check(facts, NOW) if one.danger]

    assert {one.name for one in dangers} == {name}
    assert all(one.mend.endswith(".") and not one.ok for one in dangers)


@pytest.mark.parametrize(("name", "facts"), ADVICE)
def test_the_rest_is_advice(name: str, facts: Facts) -> None:
    wrong = [one for one in check(facts, NOW) if not one.ok]

    assert name in {one.name for one in wrong}
    assert not any(one.danger for one in wrong)
    assert all(one.mend.endswith(".") for one in wrong)


@pytest.mark.parametrize(("index_mib", "hours"), [(300, 12), (600, 6), (20_000, 1)])
def test_a_chunk_interval_is_advised_that_fits(index_mib: int, hours: int) -> None:
    wrong = [one for one in check(chunks(largest_index_bytes=index_mib * MIB), NOW) if not one.ok]

    assert f"interval '{hours} hours'" in wrong[0].mend


async def test_facts_are_read_on_every_edition(empty: str) -> None:
    missing = await asyncio.to_thread(pending, empty)
    connection = await asyncpg.connect(empty)
    new = await read_facts(connection, pending=missing, retention_days=DEFAULT_DAYS)
    await asyncio.to_thread(migrate, empty)
    await fold_usage(connection, [recorded(a_usage())])
    facts = await read_facts(connection, pending=(), retention_days=DEFAULT_DAYS)
    await connection.close()

    assert new.edition is Edition.PLAIN  # nothing is stored with any other yet
    assert "migrations" in {one.name for one in check(new, NOW) if one.danger}
    assert facts.oldest_event is not None
    assert (facts.chunks is None) is (facts.edition is Edition.PLAIN)
    assert facts.chunks is None or (facts.chunks.chunks, facts.chunks.interval_s) == (1, 86_400)
    assert len(facts.jobs) == (8 if facts.edition is Edition.COMMUNITY else 0)
    wrong = {one.name for one in check(facts, datetime.now(UTC)) if one.danger}
    # tests run without fsync, and WebAssembly without background workers
    assert wrong <= {"durability", "workers"}
    assert ("workers" in wrong) is (facts.edition is Edition.COMMUNITY)


async def status(url: str, *options: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "deploy.cli",
        "migrate",
        "--status",
        *options,
        env={**os.environ, "TOLLGATE_DATABASE_URL": url},
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()


async def test_the_command_says_how_the_ledger_is(empty_plain: str) -> None:
    code, output = await status(empty_plain)
    assert code == 1
    assert "Run `tollgate migrate`." in output

    await asyncio.to_thread(migrate, empty_plain)

    code, output = await status(empty_plain)
    assert code == 0
    assert "up to date" in output
    code, output = await status(empty_plain, "--json")
    said = msgspec.json.decode(output)
    assert (code, said["healthy"], said["facts"]["edition"]) == (0, True, "plain")
    assert {one["name"] for one in said["checks"]} >= {*DANGERS, "memory", "locks", "retention"}


async def test_it_says_so_of_chunks_and_policies(community: str) -> None:
    code, output = await status(community)

    assert code == 1, "there are no background workers"
    assert "edition: community" in output
    assert "policy_retention" in output
    assert "Set timescaledb.max_background_workers to" in output

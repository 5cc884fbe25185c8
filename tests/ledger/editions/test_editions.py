"""The schema's own suite: the same on every edition, and what only one of them has."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from typing import Any

import asyncpg

from events.usage import UsageEvent
from ledger import migrate as migrations
from ledger.ages import (
    COMPRESSED,
    DEFAULT_DAYS,
    EARLY,
    LATE,
    LEAST_DAYS,
    REFRESHED,
    STREAM_DAYS,
    Retention,
)
from ledger.arrange import COMPRESSED_AFTER, REFRESHES
from ledger.db import Connection
from ledger.editions import Edition, find_edition
from ledger.migrate import migrate
from ledger.retention import drop_passed
from ledger.usage import fold_usage
from tests.ledger.editions.history import (
    UNITS,
    answers,
    expected,
    rows_of,
    some_events,
    some_times,
)

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
JOBS = """
SELECT job_id FROM timescaledb_information.jobs
WHERE hypertable_schema = 'public' ORDER BY proc_name = $1 DESC, job_id
"""
OLD_EVENTS = "SELECT count(*) FROM usage_events WHERE started_at < now() - interval '91 days'"
OLD_TOTALS = "SELECT count(*) FROM usage_totals WHERE hour < now() - interval '99 days'"
COMPRESSED_CHUNKS = """
SELECT array_agg(DISTINCT coalesce(view_name, chunks.hypertable_name)::text)
FROM timescaledb_information.chunks
    LEFT JOIN timescaledb_information.continuous_aggregates
        ON materialization_hypertable_name = chunks.hypertable_name
WHERE is_compressed
"""
WIDER_WINDOW = """
SELECT remove_continuous_aggregate_policy('usage_hours');
SELECT add_continuous_aggregate_policy('usage_hours', start_offset => interval '200 days',
    end_offset => interval '1 day', schedule_interval => interval '1 hour')
"""
VIEWS = """
SELECT relname::text, attnum, attname::text, format_type(atttypid, atttypmod), attcollation::bigint
FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
WHERE relname LIKE 'usage\\_by\\_%' AND attnum > 0 ORDER BY 1, 2
"""
DEFINITIONS = """
SELECT viewname::text, definition FROM pg_views WHERE viewname LIKE 'usage\\_by\\_%' ORDER BY 1
"""
MIGRATION = files("ledger").joinpath("migrations/0019_translated_views.sql")  # of all views


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()


async def fold(connection: Connection, events: Sequence[UsageEvent]) -> None:
    for start in range(0, len(events), 500):
        await fold_usage(connection, events[start : start + 500])


async def run_policies(connection: Connection, *, first: str = "") -> int:
    """Run every policy of ours once, those of one kind before the others."""
    jobs = await connection.fetch(JOBS, first)
    for job in jobs:
        await connection.execute(f"CALL run_job({job['job_id']})")
    return len(jobs)


async def retain(connection: Connection, retention: Retention | None = None) -> int:
    """What the consumers do every hour, until nothing is left to do."""
    edition, dropped = await find_edition(connection), 0
    while new := await drop_passed(
        connection, edition, retention or Retention(), datetime.now(UTC)
    ):
        dropped += new
    return dropped


async def migrate_without_arranging(url: str) -> None:
    """The migrations alone, as an installation has them that was there before the views."""

    def apply() -> None:
        with migrations._backend(url) as (backend, known):  # noqa: SLF001 - without what comes after
            backend.apply_migrations(backend.to_apply(known))

    await asyncio.to_thread(apply)


async def test_the_same_events_give_the_same_answers_on_every_edition(
    plain: str, apache: str, community: str
) -> None:
    events = some_events(
        [
            *some_times(300, timedelta(0), 50 * timedelta(minutes=1), seed=1),
            *some_times(300, HOUR, DAY, seed=2),
            *some_times(900, DAY, LATE, seed=3),
        ]
    )
    late = some_events(some_times(300, 2 * DAY, LATE, seed=4), seed=4)
    wanted = {unit: expected(events, unit) for unit in UNITS}
    wanted_late = {unit: expected([*events, *late], unit) for unit in UNITS}

    for url, edition in zip((plain, apache, community), Edition, strict=True):
        async with connected(url) as connection:
            assert await find_edition(connection) is edition
            await fold(connection, [*events, *events[:100]])
            assert await answers(connection) == wanted, "fresh"
            if edition is Edition.COMMUNITY:
                await run_policies(connection)
            else:
                await retain(connection)
            assert await answers(connection) == wanted, "after the jobs"
            await fold(connection, late)
            if edition is Edition.COMMUNITY:
                await run_policies(connection)
            assert await answers(connection) == wanted_late, "late ones"
            now = some_events([datetime.now(UTC)], seed=5)
            await fold(connection, now)
            assert await rows_of(connection, "minute") == expected([*events, *late, *now], "minute")


async def test_raw_events_go_and_history_stays_on_every_edition(
    empty_plain: str, empty_apache: str, empty_community: str
) -> None:
    kept = timedelta(days=DEFAULT_DAYS)
    young = some_events(some_times(400, timedelta(0), kept - 2 * DAY, seed=1))
    old = some_events(some_times(400, kept + 2 * DAY, 3 * kept, seed=2), seed=2)
    wanted = {unit: expected([*young, *old], unit) for unit in UNITS}
    remaining = {**wanted, "minute": expected(young, "minute")}

    for url in (empty_plain, empty_apache, empty_community):
        await migrate_without_arranging(url)
        async with connected(url) as connection:
            await fold(connection, [*young, *old])
            await asyncio.to_thread(migrate, url)
            assert await answers(connection) == wanted, "an upgrade adds up what was there"

            if await find_edition(connection) is Edition.COMMUNITY:
                assert await run_policies(connection, first="policy_retention") == 8
                assert await retain(connection) == 0, "policies do it"
                assert await connection.fetchval(COMPRESSED_CHUNKS) == sorted(COMPRESSED_AFTER)
            else:
                assert await retain(connection) > 0
            assert await connection.fetchval("SELECT count(*) FROM usage_events") == len(
                {event.id for event in young}
            )
            assert await answers(connection) == remaining

            # and again, when the aggregates know that their sources are gone
            if await find_edition(connection) is Edition.COMMUNITY:
                await run_policies(connection, first="policy_refresh_continuous_aggregate")
            await asyncio.to_thread(migrate, url, Retention(LEAST_DAYS))
            await asyncio.to_thread(migrate, url, Retention(4 * DEFAULT_DAYS))
            assert await answers(connection) == remaining


async def test_a_window_that_reaches_what_was_dropped_deletes_history(
    empty_community: str,
) -> None:
    """Why windows end before retention begins, and stay so: the test above can fail."""
    old = some_events(some_times(50, 100 * DAY, 150 * DAY))
    await migrate_without_arranging(empty_community)
    async with connected(empty_community) as connection:
        await fold(connection, old)
        await asyncio.to_thread(migrate, empty_community)
        await run_policies(connection, first="policy_retention")
        assert await rows_of(connection, "hour") == expected(old, "hour")

        await connection.execute(WIDER_WINDOW)
        await run_policies(connection)

        assert await rows_of(connection, "hour") == []


def test_each_age_leaves_room_for_the_one_before_it() -> None:
    assert timedelta(days=STREAM_DAYS) < LATE < COMPRESSED < REFRESHED
    assert timedelta(days=LEAST_DAYS) - 2 * DAY > REFRESHED
    assert LEAST_DAYS <= DEFAULT_DAYS
    assert all(refresh.start >= REFRESHED for refresh in REFRESHES)
    assert {refresh.source for refresh in REFRESHES if refresh.start == REFRESHED} == {
        "usage_events",
        "usage_minutes",
    }
    assert timedelta(0) < EARLY


async def test_views_have_the_same_columns_on_every_edition(
    plain: str, apache: str, community: str
) -> None:
    found = []
    for url in (plain, apache, community):
        async with connected(url) as connection:
            found.append([tuple(row) for row in await connection.fetch(VIEWS)])

    assert found[0]
    assert found[0] == found[1] == found[2]


async def test_migrating_again_changes_nothing(empty: str) -> None:
    assert await asyncio.to_thread(migrate, empty)
    async with connected(empty) as connection:
        views = await connection.fetch(DEFINITIONS)
        jobs = await policies(connection)

        await connection.execute(MIGRATION.read_text())  # as where there were views before it
        assert await asyncio.to_thread(migrate, empty) == []

        assert await connection.fetch(DEFINITIONS) == views
        assert await policies(connection) == jobs


async def policies(connection: Connection) -> dict[tuple[str, str], tuple[int, Any]]:
    """The policies' ids and settings, by table and kind."""
    if await find_edition(connection) is not Edition.COMMUNITY:
        return {}
    rows = await connection.fetch(
        "SELECT hypertable_name, proc_name, job_id, config FROM timescaledb_information.jobs "
        "WHERE hypertable_schema = 'public'"
    )
    return {(row[0], row[1]): (row[2], row[3]) for row in rows}


async def test_another_retention_changes_its_policies_and_no_other(community: str) -> None:
    async with connected(community) as connection:
        before = await policies(connection)
        await asyncio.to_thread(migrate, community, Retention(50))
        after = await policies(connection)

    changed = {name for name in before if before[name] != after[name]}
    assert changed == {
        ("usage_events", "policy_retention"),
        ("usage_minutes", "policy_retention"),
    }


async def test_only_what_can_come_no_more_is_compressed(community: str) -> None:
    events = some_events(some_times(600, timedelta(0), 60 * DAY))
    async with connected(community) as connection:
        await fold(connection, events)
        await run_policies(connection, first="policy_compression")
        chunks = await connection.fetch(
            "SELECT range_end, is_compressed FROM timescaledb_information.chunks "
            "WHERE hypertable_name = 'usage_events'"
        )
        total = await connection.fetchval("SELECT sum(requests)::bigint FROM usage_events")

    now = datetime.now(UTC)
    compressed = {end for end, is_compressed in chunks if is_compressed}
    assert len(compressed) > 20
    assert max(compressed) < now - LATE - DAY
    assert min({end for end, _ in chunks} - compressed) > now - COMPRESSED - DAY
    assert total == sum(row[6] for row in expected(events, "month"))


async def test_a_later_migration_may_add_a_column_to_compressed_chunks(community: str) -> None:
    events = some_events(some_times(200, 40 * DAY, 60 * DAY))
    async with connected(community) as connection:
        await fold(connection, events)
        await run_policies(connection, first="policy_compression")

        await connection.execute(
            "ALTER TABLE usage_events ADD COLUMN later text NOT NULL DEFAULT '{}'"
        )

        assert await fold_usage(connection, events) == 0, "keys hold in compressed chunks, too"
        assert await fold_usage(connection, some_events([datetime.now(UTC)], seed=2)) > 0
        later = await connection.fetchval("SELECT count(*) FROM usage_events WHERE later = '{}'")
        assert later > len({event.id for event in events})


async def test_a_chart_of_the_last_hour_reads_few_chunks(apache: str) -> None:
    events = some_events([datetime.now(UTC), *some_times(300, timedelta(0), 30 * DAY)])
    async with connected(apache) as connection:
        await fold(connection, events)
        plan = await connection.fetch(
            "EXPLAIN (ANALYZE, COSTS OFF) SELECT * FROM usage_by_minute "
            "WHERE bucket >= now() - interval '1 hour'"
        )

    read = {word for (line,) in plan for word in line.split() if word.endswith("_chunk")}
    assert 1 <= len(read) <= 2


async def test_what_is_looked_up_costs_those_nothing_who_do_not_ask_for_it(community: str) -> None:
    async def looks_up(quantity: str, unit: str) -> bool:
        plan = await connection.fetch(f"EXPLAIN SELECT sum({quantity}) FROM usage_by_{unit}")
        return any("SubPlan" in line for (line,) in plan)

    async with connected(community) as connection:
        for unit in UNITS:
            assert await looks_up("translated_characters", unit)
            assert not await looks_up("requests", unit)


async def test_several_consumers_drop_and_nothing_waits(plain: str, apache: str) -> None:
    old = some_events(some_times(300, 100 * DAY, 200 * DAY))
    for url in (plain, apache):
        async with connected(url) as one, connected(url) as other, connected(url) as writer:
            await fold(one, old)

            async with writer.transaction():
                await fold(writer, some_events(some_times(50, timedelta(0), DAY)))
                dropped = await asyncio.gather(retain(one), retain(other))

            assert sum(dropped) > 0
            assert await one.fetchval(OLD_EVENTS) == 0
            assert await one.fetchval(OLD_TOTALS) > 0

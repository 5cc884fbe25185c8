"""Processes die under load, and the books still balance.

The invariant: answered ⊆ billed ⊆ asked, each request once, and the totals are the sum
of the events. What is billed and not answered was in flight when an edge died.

Each fault has a control: the same test against a sabotaged system must find the books
wrong, or the test would prove nothing.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from msgspec import Struct

from consumers.verification import Verifier
from ledger.db import Connection
from tests.system.load import Load, under_load
from tests.system.system import System, echoing
from tests.waiting import PATIENCE_S, until

KILLS = 2


class Books(Struct):
    """What the ledger has of this load."""

    billed: Counter[UUID]  # how often each request is billed; voids take one away
    events: int
    totals: int
    wrong: Sequence[str]  # what a verification has to say


async def read_books(system: System, load: Load) -> Books:
    await system.settled()
    connection = await system.database()
    try:
        rows = await connection.fetch(
            "SELECT request_id, requests FROM usage_events WHERE key_id = $1", load.key_id
        )
        totals = await connection.fetchval(
            "SELECT coalesce(sum(requests), 0) FROM usage_totals WHERE key_id = $1", load.key_id
        )
        wrong = await verify(system, connection)
    finally:
        await connection.close()
    billed: Counter[UUID] = Counter()
    for row in rows:
        billed[row["request_id"]] += row["requests"]
    events = sum(row["requests"] for row in rows)
    return Books(billed=billed, events=events, totals=int(totals), wrong=wrong)


async def verify(system: System, connection: Connection) -> Sequence[str]:
    """What `tollgate usage verify` would say."""
    broker, now = await system.broker(), datetime.now(UTC)
    verifier = Verifier(
        broker,
        connection,
        since=now - timedelta(days=1),
        until=now + timedelta(hours=1),
        kept_since=now - timedelta(days=90),
    )
    found = await verifier.verify(read_stream=True)
    await broker.close()
    return [f"{one.kind}: {one.what}" for one in found.findings]


def check(load: Load, books: Books) -> None:
    """See that the books balance."""
    billed = {request_id for request_id, times in books.billed.items() if times}
    answered = set(load.answered)
    assert len(load.answered) > 100, load.statuses  # it was a load
    assert set(books.billed.values()) <= {0, 1}, "a request is billed more than once"
    assert answered <= billed, f"{len(answered - billed)} answers are not billed"
    assert not set(load.refused) & billed, "a refused request is billed"
    assert len(billed - answered) <= load.broken, "more is billed than was asked"
    assert books.totals == books.events == len(billed), "totals are not the sum of events"
    assert not books.wrong, books.wrong


async def kill_under_load(system: System, name: str) -> Load:
    """Kill a process several times under load, and go on until answers come again.

    A sabotaged process is killed at the moment that the sabotage is about, any other at
    any moment.
    """
    async with under_load(system) as load:
        for _ in range(KILLS):
            await progress(load)
            if system.sabotaged:
                await system.reach_the_moment()
                await progress(load)  # what was under way has been answered
            await system.kill(name)
        await progress(load)
    return load


async def progress(load: Load) -> None:
    """Wait until the system has answered a good number of further requests."""
    goal = len(load.answered) + 100
    await until(lambda: len(load.answered) >= goal)


async def test_the_books_balance_whoever_is_killed_under_load(
    home: Path, subtests: pytest.Subtests
) -> None:
    async with echoing(home) as system:
        for name in ("edge", "worker", "consume", "nats", "postgres"):
            with subtests.test(killed=name):
                load = await kill_under_load(system, name)

                check(load, await read_books(system, load))


async def test_control_an_edge_that_answers_before_it_meters_is_found_out(home: Path) -> None:
    async with echoing(home, "publish_after_answering") as system:
        load = await kill_under_load(system, "edge")

        with pytest.raises(AssertionError, match="answers are not billed"):
            check(load, await read_books(system, load))


async def test_control_a_consumer_that_acknowledges_before_the_commit_is_found_out(
    home: Path,
) -> None:
    async with echoing(home, "acknowledge_before_the_commit") as system:
        load = await kill_under_load(system, "consume")

        with pytest.raises(AssertionError, match="answers are not billed"):
            check(load, await read_books(system, load))


async def test_a_consumer_killed_between_commit_and_acknowledgement_counts_nothing_twice(
    home: Path,
) -> None:
    async with echoing(home, "dawdle_after_the_commit") as system:
        load = await kill_under_load(system, "consume")

        check(load, await read_books(system, load))


async def test_control_a_ledger_without_its_key_is_found_out(home: Path) -> None:
    async with echoing(home, "dawdle_after_the_commit") as system:
        connection = await system.database()
        await connection.execute("ALTER TABLE usage_events DROP CONSTRAINT usage_events_pkey")
        await connection.close()
        load = await kill_under_load(system, "consume")

        with pytest.raises(AssertionError, match="billed more than once"):
            check(load, await read_books(system, load))


async def test_nothing_is_left_when_it_is_told_to_stop(home: Path) -> None:
    async with echoing(home) as system:
        pids = [int(path.read_text()) for path in (home / "run").glob("*.pid")]
        assert len(pids) == 5
        system.process.terminate()
        await asyncio.wait_for(system.process.wait(), PATIENCE_S)

    assert system.process.returncode == 0
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
    assert not list((home / "run").glob("*.pid"))
    assert not (home / "ready.json").exists()

import asyncio
import random as randomness
from collections import Counter
from datetime import UTC, datetime
from typing import get_args
from uuid import UUID

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import asdict, astuple, replace

from events.ids import new_id
from events.units import MeterUnit, Unit
from events.usage import Quantities, UsageEvent, UsageVoided
from ledger.db import Connection
from ledger.errors import RefusedByLedger
from ledger.usage import Measured, fold_usage, measure_usage
from tests.usage import a_usage, recorded, voided

HOUR = datetime(2026, 3, 31, 22, tzinfo=UTC)


def id_at(time: datetime) -> UUID:
    """A UUIDv7 of that time."""
    milliseconds = round(time.timestamp() * 1_000)
    return UUID(int=milliseconds << 80 | new_id().int & (1 << 80) - 1)


async def test_usage_is_stored_and_added_up(ledger: Connection) -> None:
    account_id = new_id()
    events = [
        recorded(a_usage(account_id, input_tokens=7, output_words=2)),
        recorded(a_usage(account_id, input_tokens=5)),
        recorded(a_usage(new_id(), input_tokens=100)),
    ]

    assert await fold_usage(ledger, events) == 3

    query = "SELECT requests, input_tokens, output_words FROM usage_totals WHERE account_id = $1"
    assert [tuple(row) for row in await ledger.fetch(query, account_id)] == [(2, 12, 2)]


async def test_each_field_arrives_in_its_column(ledger: Connection) -> None:
    numbers = {name: n for n, name in enumerate(Quantities.__struct_fields__, start=1)}
    fact = replace(
        a_usage(None, request_id=None, **numbers), plan="paid", rates={"input_words": 1_000}
    )
    event = recorded(fact)

    await fold_usage(ledger, [event])

    row = await ledger.fetchrow("SELECT * FROM usage_events")
    total = await ledger.fetchrow("SELECT * FROM usage_totals")
    assert row
    assert total
    assert {name: row[name] for name in numbers} == numbers
    assert {name: total[name] for name in numbers} == numbers
    assert row["started_at"] == event.data.started_at
    assert (row["epoch"], row["sequence"]) == (event.edge.epoch, event.edge.sequence)
    assert (row["plan"], row["rates"]) == ("paid", '{"input_words":1000}')
    same = ("request_id", "part", "account_id", "key_id", "model", "task", "status", "duration_ms")
    assert {name: row[name] for name in same} == {name: getattr(event.data, name) for name in same}


async def test_a_repeat_changes_nothing(ledger: Connection) -> None:
    event = recorded(a_usage(input_tokens=7))
    await fold_usage(ledger, [event, event])

    assert await fold_usage(ledger, [event]) == 0

    assert await ledger.fetchval("SELECT sum(input_tokens)::int FROM usage_totals") == 7


async def test_parts_of_a_stream_count_one_by_one(ledger: Connection) -> None:
    fact = a_usage(output_tokens=3)
    later = type(fact)(**{**asdict(fact), "quantities": fact.quantities, "part": 1})

    assert await fold_usage(ledger, [recorded(fact), recorded(later)]) == 2


@pytest.mark.parametrize("record_first", [True, False])
async def test_a_void_takes_back_in_any_order(ledger: Connection, *, record_first: bool) -> None:
    fact = a_usage(input_tokens=7)
    events: list[UsageEvent] = [recorded(fact), voided(fact)]

    for event in events if record_first else reversed(events):
        await fold_usage(ledger, [event])

    total = await ledger.fetchrow("SELECT requests, input_tokens FROM usage_totals")
    assert total
    assert tuple(total) == (0, 0)


@pytest.mark.parametrize(
    "request_id",
    [UUID("9b2dbe6e-9d33-4ad4-8a33-0a4cd8a3a1a2"), UUID(int=0), UUID(int=2**128 - 1)],
)
async def test_an_id_without_a_time_is_refused(ledger: Connection, request_id: UUID) -> None:
    event = recorded(a_usage())
    event = type(event)(
        id=event.id,
        source=event.source,
        sequence=event.sequence,
        time=event.time,
        data=type(event.data)(
            **{**asdict(event.data), "quantities": Quantities(), "request_id": request_id}
        ),
    )
    with pytest.raises(RefusedByLedger):
        await fold_usage(ledger, [event])


async def test_totals_that_do_not_fit_are_refused_and_leave_nothing(ledger: Connection) -> None:
    account_id = new_id()
    events = [recorded(a_usage(account_id, input_tokens=2**63 - 1)) for _ in range(2)]

    with pytest.raises(asyncpg.DataError):
        await fold_usage(ledger, events)

    assert await ledger.fetchval("SELECT count(*) FROM usage_events") == 0


async def test_two_writers_of_the_same_events_do_not_deadlock(
    ledger: Connection, database_url: str
) -> None:
    account_id = new_id()
    events = [recorded(a_usage(account_id, input_tokens=1)) for _ in range(500)]
    other = await asyncpg.connect(database_url)

    new = await asyncio.gather(
        fold_usage(ledger, events), fold_usage(other, list(reversed(events)))
    )
    await other.close()

    assert sum(new) == 500
    assert await ledger.fetchval("SELECT sum(requests)::int FROM usage_totals") == 500


@given(
    st.lists(st.tuples(st.integers(0, 5), st.booleans(), st.integers(0, 9)), max_size=12),
    st.randoms(use_true_random=False),
)
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
async def test_folding_ignores_order_and_repeats(
    ledger: Connection,
    steps: list[tuple[int, bool, int]],
    random: randomness.Random,
) -> None:
    await ledger.execute("TRUNCATE usage_events, usage_totals")
    account_id = new_id()
    facts = [a_usage(account_id, input_tokens=n, device_ms=n * n) for n in range(6)]
    events = [voided(facts[n]) if void else recorded(facts[n]) for n, void, _ in steps]
    shuffled = events * 2
    random.shuffle(shuffled)

    for start in range(0, len(shuffled), 5):
        await fold_usage(ledger, shuffled[start : start + 5])

    expected = Counter[str]()
    for event in {event.id: event for event in events}.values():
        sign = -1 if isinstance(event, UsageVoided) else 1
        for name, count in zip(
            Quantities.__struct_fields__, astuple(event.data.quantities), strict=True
        ):
            expected[name] += sign * count
    sums = ", ".join(
        f"coalesce(sum({name}), 0)::int AS {name}" for name in Quantities.__struct_fields__
    )
    row = await ledger.fetchrow(f"SELECT {sums} FROM usage_totals")
    assert row
    assert dict(row) == {name: expected[name] for name in Quantities.__struct_fields__}


@pytest.mark.parametrize("unit", get_args(Unit))
async def test_whatever_a_plan_limits_can_be_added_up(ledger: Connection, unit: Unit) -> None:
    account_id, hour = new_id(), datetime(2000, 1, 1, tzinfo=UTC)
    used: dict[str, int] = {"requests": 0, unit: 7}
    facts = [a_usage(account_id, request_id=None, **used) for _ in range(3)]
    await fold_usage(ledger, [recorded(fact) for fact in facts])

    measured = Measured(account_id=account_id, unit=unit)
    assert await measure_usage(ledger, measured, since=hour, until=None) == 21


@pytest.mark.parametrize("unit", get_args(MeterUnit))
async def test_whatever_a_meter_is_told_can_be_added_up(
    ledger: Connection, unit: MeterUnit
) -> None:
    await ledger.execute(
        "INSERT INTO stripe_meters (event_name, unit, covers, since) "
        "VALUES ('all', $1, '{}', '-infinity')",
        unit,
    )
    used: dict[str, int] = {"requests": 0, unit: 7}
    facts = [a_usage(None, request_id=None, **used) for _ in range(3)]
    await fold_usage(ledger, [recorded(fact) for fact in facts])

    assert await ledger.fetchval("SELECT sum(amount) FROM stripe_metered") == 21

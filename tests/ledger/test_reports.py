"""What was used, by time and by group; what may be asked, and what may not."""

import itertools
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from events.ids import new_id
from events.usage import Quantities, Usage, UsageEvent
from ledger.db import Connection
from ledger.errors import BadQuestion
from ledger.questions import MAX_BUCKETS, Wanted, read_page, read_question, write_page
from ledger.reports import QUANTITIES, Position, Question, Row, report_usage
from ledger.usage import fold_usage
from tests.usage import a_usage, recorded, voided

HOUR = datetime(2026, 3, 31, 22, tzinfo=UTC)


def id_at(time: datetime) -> UUID:
    """A UUIDv7 of that time."""
    milliseconds = round(time.timestamp() * 1_000)
    return UUID(int=milliseconds << 80 | new_id().int & (1 << 80) - 1)


def question(account_id: UUID | None, **wanted: Any) -> Question:
    """Of March and April, unless told otherwise."""
    usual = {"since": HOUR - timedelta(days=30), "until": HOUR + timedelta(days=29)}
    found = read_question(Wanted(**usual | wanted), now=HOUR)
    return replace(found, account_id=account_id)


async def ask(ledger: Connection, account_id: UUID | None, **wanted: Any) -> list[Row]:
    return list((await report_usage(ledger, question(account_id, **wanted))).rows)


def at(time: datetime, account_id: UUID, **fields: Any) -> Usage:
    quantities = {name: fields.pop(name) for name in QUANTITIES if name in fields}
    usage = a_usage(account_id, request_id=id_at(time), **quantities)
    return replace(usage, **fields)


async def test_buckets_are_of_utc_and_newest_first(ledger: Connection) -> None:
    account_id = new_id()
    times = [HOUR, HOUR + timedelta(minutes=59), HOUR + timedelta(hours=2), HOUR]
    await fold_usage(ledger, [recorded(at(time, account_id)) for time in times])
    await ledger.execute("SET timezone = 'Asia/Tokyo'")

    hours = await ask(ledger, account_id, bucket="hour")
    months = await ask(ledger, account_id, bucket="month")
    years = await ask(ledger, account_id, bucket="year")
    day = {"since": HOUR, "until": HOUR + timedelta(hours=3)}
    minutes = await ask(ledger, account_id, bucket="minute", **day)

    assert [(row.bucket, row.requests) for row in hours] == [
        (HOUR + timedelta(hours=2), 1),
        (HOUR, 3),
    ]
    assert [(row.bucket.month, row.requests) for row in months] == [(4, 1), (3, 3)]
    assert [(row.bucket, row.requests) for row in years] == [(datetime(2026, 1, 1, tzinfo=UTC), 4)]
    assert [(row.bucket - HOUR, row.requests) for row in minutes] == [
        (timedelta(minutes=120), 1),
        (timedelta(minutes=59), 1),
        (timedelta(0), 2),
    ]


async def test_whatever_is_grouped_by_and_however_long_the_pages_are_the_sums_are_the_same(
    ledger: Connection,
) -> None:
    account_id = new_id()
    models, tasks, keys, statuses = ("a", "b/7"), ("t", "u"), ("k1", "k2"), (200, 429)
    usages = [
        at(
            HOUR + timedelta(hours=9 * n),
            account_id,
            model=m,
            task=t,
            key_id=k,
            status=s,
            output_tokens=n,
        )
        for n, (m, t, k, s) in enumerate(itertools.product(models, tasks, keys, statuses))
    ]
    await fold_usage(ledger, [*map(recorded, usages), voided(usages[3])])

    for groups in itertools.chain.from_iterable(
        itertools.combinations(("model", "task", "key", "status", "account"), size)
        for size in range(4)
    ):
        for limit in (1, 3, 100):
            pages = await _pages(ledger, question(account_id, group_by=groups, limit=limit))
            found = Counter[str]()
            for row in pages:
                found[row.model] += row.output_tokens
            assert sum(found.values()) == sum(range(16)) - 3
            if "model" in groups:
                assert found == {"a": sum(range(8)) - 3, "b/7": sum(range(8, 16))}
            assert len({row.position for row in pages}) == len(pages)


async def _pages(ledger: Connection, asked: Question) -> list[Row]:
    rows: list[Row] = []
    while True:
        report = await report_usage(ledger, asked)
        rows += report.rows
        if not report.has_more:
            return rows
        page = write_page(report.rows[-1].position)
        asked = replace(asked, after=read_page(page))


async def test_filters_leave_out_everything_else(ledger: Connection) -> None:
    account_id = new_id()
    events = [
        at(HOUR, account_id, model="a", task="t", key_id="k", input_words=1),
        at(HOUR, account_id, model="b", task="t", key_id="k", input_words=2),
        at(HOUR, account_id, model="b", task="u", key_id="l", input_words=4),
        at(HOUR, account_id, model="b", task="u", key_id="l", status=429, errors=8, requests=0),
    ]
    await fold_usage(ledger, list(map(recorded, events)))

    async def words(**wanted: Any) -> int:
        return sum(row.input_words + row.errors for row in await ask(ledger, account_id, **wanted))

    assert await words() == 15
    assert await words(models=["b"]) == 14
    assert await words(models=["a", "b"], tasks=["t"]) == 3
    assert await words(keys=["l"], statuses=[200]) == 4
    assert await words(statuses=[429]) == 8
    assert await words(models=["nobody's"]) == 0


async def test_an_account_sees_its_own_and_the_operator_everybodys(ledger: Connection) -> None:
    first, second = new_id(), new_id()
    events = [at(HOUR, first, cost=5), at(HOUR, second, cost=9), at(HOUR, second, cost=1)]
    await fold_usage(ledger, list(map(recorded, events)))

    assert [row.cost for row in await ask(ledger, first)] == [5]
    assert [row.cost for row in await ask(ledger, second)] == [10]
    assert [row.cost for row in await ask(ledger, new_id())] == []
    assert [row.cost for row in await ask(ledger, None)] == [15]
    top = await ask(ledger, None, group_by=["account"], top="cost", limit=1)
    assert [(row.account_id, row.cost) for row in top] == [(str(second), 10)]


async def test_latencies_are_of_answers_and_not_of_parts(ledger: Connection) -> None:
    account_id = new_id()
    took = [at(HOUR, account_id, model="m", duration_ms=ms) for ms in range(1, 101)]
    whole = at(HOUR, account_id, model="stream", duration_ms=0)
    parts = [whole, replace(whole, part=1, duration_ms=900)]
    taken_back = at(HOUR, account_id, model="m", duration_ms=10_000)
    events: list[UsageEvent] = [*map(recorded, [*took, *parts, taken_back]), voided(taken_back)]
    await fold_usage(ledger, events)
    of_a_day = {"since": HOUR, "until": HOUR + timedelta(hours=1), "bucket": "hour"}

    stream, model = await ask(ledger, account_id, group_by=["model"], latency=True, **of_a_day)

    assert (stream.model, model.model) == ("stream", "m")
    assert stream.latency
    assert stream.latency.p50 == 900
    assert model.latency
    assert (model.latency.p50, model.latency.p95) == (51, 96)


def test_what_is_not_said_is_filled_in_and_ranges_are_of_whole_buckets() -> None:
    now = datetime(2026, 3, 31, 22, 17, 3, tzinfo=UTC)

    def found(**wanted: Any) -> tuple[str, str]:
        asked = read_question(Wanted(**wanted), now=now)
        return f"{asked.since:%Y-%m-%d %H:%M}", f"{asked.until:%Y-%m-%d %H:%M}"

    assert found(bucket="minute") == ("2026-03-31 21:18", "2026-03-31 22:18")
    assert found(bucket="hour") == ("2026-03-29 23:00", "2026-03-31 23:00")
    assert found() == ("2026-03-01 00:00", "2026-04-01 00:00")
    assert found(bucket="month") == ("2025-03-01 00:00", "2026-04-01 00:00")
    assert found(bucket="year") == ("2017-01-01 00:00", "2027-01-01 00:00")
    assert found(latency=True) == ("2026-03-31 00:00", "2026-04-01 00:00")
    assert found(bucket="hour", latency=True) == ("2026-03-30 23:00", "2026-03-31 23:00")
    tokyo = datetime.fromisoformat("2026-03-01T01:30:00+09:00")
    assert found(bucket="hour", since=tokyo, until=tokyo + timedelta(minutes=1)) == (
        "2026-02-28 16:00",
        "2026-02-28 17:00",
    )


@pytest.mark.parametrize(
    ("wanted", "param"),
    [
        ({"since": HOUR, "until": HOUR}, "from"),
        ({"since": HOUR, "until": HOUR - timedelta(hours=1)}, "from"),
        ({"since": datetime(1900, 1, 1, tzinfo=UTC)}, "from"),
        ({"until": datetime(9999, 12, 31, tzinfo=UTC)}, "to"),
        ({"since": HOUR - timedelta(days=36_500)}, "from"),
        ({"bucket": "hour", "since": HOUR - timedelta(hours=MAX_BUCKETS + 1)}, "from"),
        ({"bucket": "minute", "since": HOUR - timedelta(hours=25)}, "from"),
        ({"latency": True, "since": HOUR - timedelta(days=2)}, "from"),
        ({"group_by": ["shoe size"]}, "group_by"),
        ({"models": ["\0"]}, "model"),
        ({"statuses": [2**40]}, "status"),
        ({"page": "hostile"}, "page"),
        ({"page": "x" * 10_001}, "page"),
        ({"page": write_page(Position(HOUR, "", "", "\0", "", 0))}, "page"),
        ({"page": write_page(Position(HOUR, "", "", "", "", 2**40))}, "page"),
        ({"page": write_page(Position(HOUR, "", "", "", "", 0)), "top": "cost"}, "page"),
        ({"limit": 0}, "limit"),
        ({"limit": 10**9}, "limit"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(wanted: dict[str, Any], param: str) -> None:
    with pytest.raises(BadQuestion) as refused:
        read_question(Wanted(**wanted), now=HOUR)

    assert refused.value.param == param


@given(st.text())
def test_no_page_crashes_it(page: str) -> None:
    with suppress(BadQuestion):
        read_page(page)


def test_a_row_has_every_quantity() -> None:
    assert set(Quantities.__struct_fields__) < set(Row.__struct_fields__)

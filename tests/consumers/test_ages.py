"""Events that come too late, or too early."""

import random
from datetime import UTC, datetime, timedelta

import pytest

from events.usage import UsageEvent
from ledger.ages import DEFAULT, EARLY, LATE, refuse_untimely
from ledger.editions import find_edition
from ledger.errors import RefusedByLedger
from ledger.retention import drop_passed
from ledger.usage import fold_usage
from tests.consumers.pipeline import Pipeline
from tests.ledger.editions.history import id_at
from tests.usage import a_usage, recorded
from tests.waiting import until

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
MS = timedelta(milliseconds=1)
DAY = timedelta(days=1)


def an_event(time: datetime) -> UsageEvent:
    return recorded(a_usage(request_id=id_at(time, random.Random())))


@pytest.mark.parametrize("time", [NOW - LATE, NOW, NOW + EARLY])
def test_an_event_within_the_bounds_is_folded(time: datetime) -> None:
    refuse_untimely([an_event(time)], NOW)
    refuse_untimely([], NOW)


@pytest.mark.parametrize(
    ("time", "said"),
    [
        (NOW - LATE - MS, "is of 2026-10-21 11:59, more than 31 days ago"),
        (NOW + EARLY + MS, "is of 2026-11-22 12:00, more than 1 day from now"),
    ],
)
def test_one_beyond_them_is_refused_with_its_time(time: datetime, said: str) -> None:
    with pytest.raises(RefusedByLedger, match=said):
        refuse_untimely([an_event(NOW), an_event(time)], NOW)


async def test_late_events_are_folded_and_untimely_ones_parked(pipeline: Pipeline) -> None:
    now = datetime.now(UTC)
    timely = [an_event(now - 30 * DAY), an_event(now), an_event(now + DAY / 2)]
    untimely = [an_event(now - 40 * DAY), an_event(now + 2 * DAY)]
    await pipeline.deliver(timely[0], *untimely, *timely[1:])

    async with pipeline.consuming():
        await pipeline.until_settled()

    assert await pipeline.requests() == len(timely)
    parked = await pipeline.parked()
    reasons = [(message.headers or {})["Tollgate-Reason"] for message in parked]
    assert sorted(reason.partition(", more than ")[2] for reason in reasons) == [
        "1 day from now",
        "31 days ago",
    ]


async def test_a_repeat_after_months_is_parked_and_not_counted_again(pipeline: Pipeline) -> None:
    """Its key is gone with its chunk, so that the ledger would take it for a new one."""
    now = datetime.now(UTC)
    event = an_event(now - 100 * DAY)
    await fold_usage(pipeline.ledger, [event])
    edition = await find_edition(pipeline.ledger)
    assert await drop_passed(pipeline.ledger, edition, DEFAULT, now) == 1

    async with pipeline.consuming():
        await pipeline.deliver(event)
        await pipeline.until_settled()

    assert await pipeline.requests() == 1
    assert len(await pipeline.parked()) == 1


async def test_consumers_drop_what_has_been_kept_for_long_enough(pipeline: Pipeline) -> None:
    now = datetime.now(UTC)
    await fold_usage(pipeline.ledger, [an_event(now - 50 * DAY), an_event(now - 10 * DAY)])

    async def dropped() -> bool:
        query = "SELECT count(*) FROM usage_events"
        return bool(await pipeline.ledger.fetchval(query) == 1)

    async with pipeline.consuming(usage_retention_days=40):
        await until(dropped)

    assert await pipeline.requests() == 2

"""What Stripe is told is frozen: every hour's events add up to a total that there was."""

import random
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from events.ids import new_id
from events.meters import Meter
from ledger.accounts import create_account
from ledger.db import Connection
from ledger.errors import MeterChanged, NothingParked
from ledger.retention import drop_meter_events
from ledger.stripe import meters
from ledger.stripe.meters import MeterEvent
from ledger.stripe.summaries import find_not_frozen
from ledger.usage import fold_usage
from ledger.verification import HOUR, full_hour
from tests.ledger.editions.history import id_at
from tests.usage import a_usage, recorded, voided

WORDS = Meter(event_name="words", unit="output_words")
CHOSEN = random.Random(1)
NOW = datetime(2026, 11, 21, 12, 30, tzinfo=UTC)
BEFORE = full_hour(NOW) - HOUR  # the last hour that is closed


async def a_customer(ledger: Connection, name: str = "cus_1") -> UUID:
    account = await create_account(ledger, name)
    await ledger.execute("UPDATE accounts SET stripe_customer = $2 WHERE id = $1", account.id, name)
    return account.id


async def use(
    ledger: Connection, account_id: UUID, words: int, at: datetime = BEFORE, model: str = "echo"
) -> None:
    fact = a_usage(account_id, request_id=id_at(at, CHOSEN), output_words=words)
    await fold_usage(ledger, [recorded(replace(fact, model=model))])


async def frozen(ledger: Connection) -> Sequence[MeterEvent]:
    """All that is to be sent, as it would be."""
    found: list[MeterEvent] = []
    doubtful = await meters.find_doubtful(ledger, ["words", "other"], NOW)
    await meters.note_not_there(ledger, doubtful, NOW)
    while batch := await meters.claim(ledger, ["words", "other"], NOW, 100):
        await meters.settle(ledger, [(event, "sent", "") for event in batch])
        found += batch
    return found


async def test_what_was_told_is_kept_for_a_year_and_what_was_not_for_good(
    ledger: Connection,
) -> None:
    account_id = await a_customer(ledger)
    now = NOW + timedelta(days=401)
    for hours in range(1, 5):
        await use(ledger, account_id, hours, BEFORE - hours * HOUR)
    await use(ledger, account_id, 9, BEFORE)
    await meters.freeze(ledger, WORDS, NOW)
    fates = ("sent", "parked", "written off", "sent", "frozen")  # the oldest first
    for row, fate in zip(
        await ledger.fetch("SELECT identifier FROM stripe_meter_events ORDER BY hour"),
        fates,
        strict=True,
    ):
        await ledger.execute(
            "UPDATE stripe_meter_events SET fate = $2 WHERE identifier = $1",
            row["identifier"],
            fate,
        )

    assert await drop_meter_events(ledger, NOW + timedelta(days=399)) == 0
    assert await drop_meter_events(ledger, now) == 3
    left = await ledger.fetch("SELECT fate FROM stripe_meter_events ORDER BY hour")
    assert [row["fate"] for row in left] == ["parked", "frozen"]


async def test_a_closed_hour_is_frozen_once(ledger: Connection) -> None:
    account_id = await a_customer(ledger)
    await use(ledger, account_id, 7)
    await use(ledger, account_id, 5)
    await use(ledger, account_id, 100, full_hour(NOW))  # goes on

    assert await meters.freeze(ledger, WORDS, NOW) == 1
    assert await meters.freeze(ledger, WORDS, NOW) == 0
    (event,) = await frozen(ledger)

    assert (event.account_id, event.hour, event.amount) == (account_id, BEFORE, 12)
    assert (event.customer, event.number) == ("cus_1", 1)
    assert event.timestamp == full_hour(NOW).timestamp() - 1


async def test_what_comes_late_is_another_event_of_its_hour(ledger: Connection) -> None:
    account_id = await a_customer(ledger)
    await use(ledger, account_id, 7)
    await meters.freeze(ledger, WORDS, NOW)
    await use(ledger, account_id, 5)
    await meters.freeze(ledger, WORDS, NOW)
    first, second = await frozen(ledger)

    assert [(event.number, event.amount) for event in (first, second)] == [(1, 7), (2, 5)]
    assert first.identifier != second.identifier
    assert first.timestamp == second.timestamp


async def test_what_is_taken_back_is_a_negative_one(ledger: Connection) -> None:
    fact = a_usage(await a_customer(ledger), request_id=id_at(BEFORE, CHOSEN), output_words=7)
    await fold_usage(ledger, [recorded(fact)])
    await meters.freeze(ledger, WORDS, NOW)
    await fold_usage(ledger, [voided(fact)])
    await meters.freeze(ledger, WORDS, NOW)

    assert [event.amount for event in await frozen(ledger)] == [7, -7]


async def test_an_hour_closes_with_room_for_the_fold(ledger: Connection) -> None:
    account_id, hour = await a_customer(ledger), full_hour(NOW)
    await use(ledger, account_id, 7, hour - HOUR)

    assert await meters.freeze(ledger, WORDS, hour + timedelta(minutes=1)) == 0
    assert await meters.freeze(ledger, WORDS, hour + timedelta(minutes=2)) == 1


async def test_a_meter_counts_what_it_says(ledger: Connection) -> None:
    account_id = await a_customer(ledger)
    await use(ledger, account_id, 7)
    await use(ledger, account_id, 5, model="another")
    await use(ledger, account_id, 3, BEFORE - timedelta(days=3))
    await use(ledger, account_id, 2, BEFORE - timedelta(days=40))  # Stripe takes it no more
    other = Meter(event_name="other", unit="requests", only=("another",))
    await meters.freeze(ledger, other, NOW)
    await meters.freeze(
        ledger, Meter(event_name="words", unit="output_words", since=date(2026, 11, 20)), NOW
    )

    told = [(event.event_name, event.amount) for event in await frozen(ledger)]
    assert sorted(told) == [("other", 1), ("words", 12)]


async def test_usage_of_nobodys_customer_waits(ledger: Connection) -> None:
    account = await create_account(ledger, "Ada")
    await use(ledger, account.id, 7)

    assert await meters.freeze(ledger, WORDS, NOW) == 0
    (waiting,) = await meters.find_unlinked(ledger, NOW)
    assert (waiting.accounts, waiting.amount) == (1, 7)
    await ledger.execute("UPDATE accounts SET stripe_customer = 'cus_1'")
    assert await meters.freeze(ledger, WORDS, NOW) == 1
    assert not await meters.find_unlinked(ledger, NOW)


async def test_usage_of_an_account_that_nobody_knows_is_kept_and_told_to_nobody(
    ledger: Connection,
) -> None:
    await use(ledger, new_id(), 7)

    assert await meters.freeze(ledger, WORDS, NOW) == 0
    assert await ledger.fetchval("SELECT sum(output_words)::int FROM usage_totals") == 7


async def test_what_no_meter_can_hold_stops_nobody_else(ledger: Connection) -> None:
    account_id = await a_customer(ledger)
    for model in ("a", "b"):  # together beyond what PostgreSQL's bigint holds
        await use(ledger, account_id, 2**63 - 1, model=model)
    await use(ledger, await a_customer(ledger, "cus_2"), 7)

    assert await meters.freeze(ledger, WORDS, NOW) == 1
    assert [event.amount for event in await frozen(ledger)] == [7]
    await ledger.execute("UPDATE usage_events SET recorded_at = recorded_at - interval '1 h'")
    (named,) = await find_not_frozen(ledger, BEFORE, full_hour(NOW), limit=10)
    assert (named.account_id, named.used, named.frozen) == (account_id, 2**64 - 2, 0)


@pytest.mark.parametrize(
    "changed",
    [
        Meter(event_name="words", unit="input_words"),
        Meter(event_name="words", unit="output_words", only=("echo",)),
    ],
)
async def test_a_meter_cannot_come_to_mean_something_else(
    ledger: Connection, changed: Meter
) -> None:
    await use(ledger, await a_customer(ledger), 7)
    await meters.freeze(ledger, WORDS, NOW)

    with pytest.raises(MeterChanged, match="needs a meter of another name"):
        await meters.freeze(ledger, changed, NOW)

    assert [event.amount for event in await frozen(ledger)] == [7]


async def test_corrections_wait_for_what_they_correct(ledger: Connection) -> None:
    account_id = await a_customer(ledger)
    await use(ledger, account_id, 7)
    await meters.freeze(ledger, WORDS, NOW)
    await use(ledger, account_id, 5)
    await meters.freeze(ledger, WORDS, NOW)
    (first,) = await meters.claim(ledger, ["words"], NOW, 100)
    await meters.settle(ledger, [(first, "parked", "no such customer")])

    assert not await meters.claim(ledger, ["words"], NOW, 100)
    (parked,) = await meters.find_parked(ledger, 10)
    assert (parked.amount, parked.reason) == (7, "no such customer")
    assert await meters.release(ledger) == 1
    assert [event.amount for event in await frozen(ledger)] == [7, 5]


async def test_what_is_written_off_is_not_waited_for(ledger: Connection) -> None:
    account_id = await a_customer(ledger)
    await use(ledger, account_id, 7)
    await meters.freeze(ledger, WORDS, NOW)
    (first,) = await meters.claim(ledger, ["words"], NOW, 100)
    await meters.settle(ledger, [(first, "parked", "no such customer")])
    await meters.write_off(ledger, first.identifier, "charged by hand")
    await use(ledger, account_id, 5)
    await meters.freeze(ledger, WORDS, NOW)

    assert [event.amount for event in await frozen(ledger)] == [5]
    with pytest.raises(NothingParked):
        await meters.write_off(ledger, first.identifier, "again")


async def test_what_stripe_takes_no_more_is_parked(ledger: Connection) -> None:
    await use(ledger, await a_customer(ledger), 7)
    await meters.freeze(ledger, WORDS, NOW)

    assert await meters.park_passed(ledger, NOW + timedelta(days=33)) == 0
    assert await meters.park_passed(ledger, NOW + timedelta(days=35)) == 1
    (parked,) = await meters.find_parked(ledger, 10)
    assert "Stripe takes it no more" in parked.reason


STEPS = st.lists(
    st.one_of(
        st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(0, 50)),  # account, hour, words
        st.none(),  # freeze
    ),
    max_size=12,
)


@given(STEPS)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_what_is_frozen_adds_up_to_the_totals(
    ledger: Connection, steps: Sequence[tuple[int, int, int] | None]
) -> None:
    """Whatever order usage and freezing come in."""
    await ledger.execute("TRUNCATE stripe_meter_events, stripe_meters, usage_totals, usage_events")
    accounts = [await a_customer(ledger, f"cus_{new_id()}") for _ in range(3)]
    for step in [*steps, None]:
        if step is None:
            await meters.freeze(ledger, WORDS, NOW)
        else:
            account, hour, words = step
            await use(ledger, accounts[account], words, BEFORE - hour * HOUR)

    totals = await ledger.fetch(
        """SELECT account_id, hour, sum(output_words)::bigint AS amount FROM usage_totals
        GROUP BY 1, 2 HAVING sum(output_words) <> 0 ORDER BY 1, 2"""
    )
    told = await ledger.fetch(
        """SELECT account_id, hour, sum(amount)::bigint AS amount FROM stripe_meter_events
        GROUP BY 1, 2 ORDER BY 1, 2"""
    )
    assert totals == told

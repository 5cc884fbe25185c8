"""Stripe is told what was used: once, whoever is killed."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from consumers.stripe.metering import Exported
from events.meters import Meter
from ledger.db import Connection, only_one
from ledger.errors import StripeKeyRefused, StripeUnavailable
from ledger.stripe import meters
from tests.consumers.exporting import STEPS, WORDS, Books
from tests.consumers.pipeline import Pipeline
from tests.stripe.app import KEY
from tests.stripe.clock import Clock
from tests.stripe.running import standing_in
from tests.usage import a_usage, recorded
from tests.waiting import until

EVENTS = "/v1/billing/meter_events"
DAY = timedelta(days=1)


@pytest.fixture
async def books(ledger: Connection, database_url: str) -> AsyncIterator[Books]:
    async with standing_in(clock=Clock(), seed=1) as stripe:
        yield Books(ledger, database_url, stripe)


def later() -> datetime:
    """When Stripe may have forgotten an identifier."""
    return datetime.now(UTC) + DAY + timedelta(minutes=5)


async def test_stripe_is_told_what_a_customer_used(books: Books) -> None:
    books.a_meter()
    account_id = await books.a_customer()
    await books.use(account_id, 7)
    await books.use(account_id, 5)
    await books.use(account_id, 3, hours_before=30)

    assert await books.export() == Exported(frozen=2, sent=2)
    await books.check()
    assert await books.export() == Exported()

    await books.use(account_id, 4)  # late: a correction, with the hour's own time
    assert await books.export() == Exported(frozen=1, sent=1)
    await books.check()
    assert await books.events() == [(1, 3, "sent"), (1, 12, "sent"), (2, 4, "sent")]


async def test_killed_at_any_step_stripes_total_is_the_ledgers(
    books: Books, subtests: pytest.Subtests
) -> None:
    books.a_meter()
    accounts = [await books.a_customer() for _ in range(3)]
    for step in STEPS:
        with subtests.test(killed_after=step):
            for account_id in accounts:
                await books.use(account_id, 7)
            await books.export_killed(step)
            await books.use(accounts[0], 5)  # late, of an hour that Stripe may know
            await books.export()

            await books.check()


async def test_control_amounts_that_are_computed_again_are_found_out(books: Books) -> None:
    """An exporter that forgets what it froze, and sends what the total is by now."""
    books.a_meter()
    account_id = await books.a_customer()
    await books.use(account_id, 7)
    await books.export_killed("post")
    await books.use(account_id, 5)
    await books.ledger.execute("DELETE FROM stripe_meter_events WHERE fate = 'frozen'")
    await books.export()

    assert await books.events() == [(1, 12, "sent")]
    with pytest.raises(AssertionError, match="Stripe's total is not the ledger's"):
        await books.check()


async def test_an_answer_that_is_lost_is_asked_for_again(books: Books) -> None:
    books.a_meter()
    await books.use(await books.a_customer(), 7)
    books.stripe.control.fail(path=EVENTS, cut=True, after=True, times=-1)
    with pytest.raises(StripeUnavailable):
        await books.export()
    assert await books.events() == [(1, 7, "frozen")]
    books.stripe.control.mend()

    assert await books.export() == Exported(sent=1)
    await books.check()


async def test_a_customer_without_an_answer_stops_nobody_else(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consumers.stripe.metering.BATCH", 2)
    books.a_meter()
    for account_id in [await books.a_customer() for _ in range(4)]:
        await books.use(account_id, 7)
    # the first one to ask, and both times that it asks again; who asks second is answered
    books.stripe.control.fail(path=EVENTS, status=500)
    books.stripe.control.fail(path=EVENTS, status=500, skip=1, times=2)

    with pytest.raises(StripeUnavailable):
        await books.export()

    assert sorted(fate for *_, fate in await books.events()) == ["frozen", "sent", "sent", "sent"]
    assert await books.export() == Exported(sent=1)
    await books.check()


async def test_what_stripe_refuses_is_parked_and_the_others_go_on(books: Books) -> None:
    books.a_meter()
    for account_id in [await books.a_customer() for _ in range(3)]:
        await books.use(account_id, 7)
    books.stripe.control.fail(path=EVENTS, status=400)

    assert await books.export() == Exported(frozen=3, sent=2, parked=1)
    assert len(await meters.find_parked(books.ledger, 10)) == 1
    assert await books.export() == Exported()
    assert await meters.release(books.ledger) == 1
    assert await books.export() == Exported(sent=1)
    await books.check()


async def test_a_meter_that_cannot_be_told_is_named_and_waits(books: Books) -> None:
    books.meters = [
        WORDS,
        Meter(event_name="counted", unit="requests"),
        Meter(event_name="nowhere", unit="requests"),
    ]
    books.a_meter()
    books.a_meter("counted", "count")
    await books.use(await books.a_customer(), 7)

    found = await books.export()

    assert found
    assert (found.frozen, found.sent) == (3, 1)
    counted, nowhere = found.held
    assert "'counted': Stripe's meter does not add up" in counted
    assert "'nowhere': Stripe has no active meter" in nowhere
    await books.check()
    books.a_meter("nowhere")
    found = await books.export()
    assert found
    assert (found.sent, len(found.held)) == (1, 1)


async def test_a_meter_that_changed_is_named_and_the_others_are_told(books: Books) -> None:
    books.a_meter()
    books.a_meter("requests")
    account_id = await books.a_customer()
    await books.use(account_id, 7)
    await books.export()
    await books.use(account_id, 5)
    books.meters = [
        Meter(event_name="words", unit="input_words"),
        Meter(event_name="requests", unit="requests"),
    ]

    found = await books.export()

    assert found
    assert (found.frozen, found.sent) == (1, 1)
    assert "meter 'words' has another unit" in found.held[0]


async def test_what_stripe_may_have_forgotten_is_not_sent_blindly(books: Books) -> None:
    """Its sum of the hour says whether it has it."""
    books.a_meter()
    first, second = [await books.a_customer() for _ in range(2)]
    await books.use(first, 7)
    await books.export_killed("post")  # it has this one
    await books.use(second, 5)
    await books.export_killed("claim")  # and not this one
    books.stripe.account.clock.move_to(int(later().timestamp()))

    assert await books.export(clock=later) == Exported(sent=2)
    await books.check()


async def test_a_ledger_that_was_restored_does_not_tell_it_all_again(books: Books) -> None:
    books.a_meter()
    for account_id in [await books.a_customer() for _ in range(2)]:
        await books.use(account_id, 7)
        await books.use(account_id, 5, hours_before=40)
    await books.export()
    await books.ledger.execute("DELETE FROM stripe_meter_events")
    books.stripe.account.clock.move_to(int(later().timestamp()))

    assert await books.export(clock=later) == Exported(frozen=4, sent=4)
    await books.check()


async def test_one_that_stripe_knows_nothing_of_is_parked_and_the_others_go_on(
    books: Books,
) -> None:
    books.a_meter()
    for account_id in [await books.a_customer() for _ in range(2)]:
        await books.use(account_id, 5, hours_before=40)
    books.stripe.control.fail(path="/v1/billing/meters/", status=404)

    assert await books.export() == Exported(frozen=2, sent=1, parked=1)


async def test_what_stripe_may_still_add_up_waits(books: Books) -> None:
    books.a_meter()
    account_id = await books.a_customer()
    await books.use(account_id, 7, hours_before=40)
    await books.export()
    told = books.stripe.account.meter_events["words"].pop()  # not in its sums yet
    await books.use(account_id, 5, hours_before=40)

    assert await books.export() == Exported(frozen=1)
    books.stripe.account.meter_events["words"].append(told)
    assert await books.export() == Exported(sent=1)
    await books.check()


async def test_control_what_stripe_forgot_is_counted_twice_if_sent_blindly(books: Books) -> None:
    books.a_meter()
    await books.use(await books.a_customer(), 7)
    await books.export_killed("post")
    books.stripe.account.clock.move_to(int(later().timestamp()))
    await books.export()  # by a clock of the day before

    with pytest.raises(AssertionError, match="Stripe's total is not the ledger's"):
        await books.check()


async def test_what_cannot_be_told_from_its_sum_is_parked(books: Books) -> None:
    books.a_meter()
    await books.use(await books.a_customer(), 7)
    await books.export_killed("post")
    books.stripe.account.meter_events["words"][0]["payload"]["value"] = "6"

    assert await books.export(clock=later) == Exported(parked=1)
    (parked,) = await meters.find_parked(books.ledger, 10)
    assert "its sum of the hour is 6, where 0 without it, or 7 with it" in parked.reason


async def test_there_is_one_exporter_at_a_time(books: Books) -> None:
    await books.use(await books.a_customer(), 7)
    async with only_one(books.ledger, "stripe_meter") as ours:
        assert ours
        assert await books.export() is None


async def test_a_key_that_is_refused_sends_nothing(books: Books) -> None:
    books.a_meter()
    await books.use(await books.a_customer(), 7)
    books.stripe.control.revoke(KEY)
    with pytest.raises(StripeKeyRefused):
        await books.export()

    assert await books.events() == [(1, 7, "frozen")]


async def test_the_consumers_tell_stripe_and_without_a_key_nobody(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    file = tmp_path / "plans.toml"
    file.write_text(
        '[[plan]]\nname = "default"\n[[meter]]\nevent_name = "words"\nunit = "output_words"\n'
    )
    async with standing_in() as stripe:
        books = Books(pipeline.ledger, pipeline.database_url, stripe)
        books.a_meter()
        await books.use(await books.a_customer(), 7)
        settings = {"plans_file": str(file), "stripe_api_base": stripe.url, "stripe_meter_s": 0.1}
        async with pipeline.consuming(**settings):
            await pipeline.deliver(recorded(a_usage()))
            await pipeline.until_settled()
        assert not await books.events()
        async with pipeline.consuming(**settings, stripe_api_key=KEY):
            await until(books.told)
            await books.use(await books.a_customer(), 5)

            async def told() -> bool:
                return books.told() == await books.used()

            await until(told)

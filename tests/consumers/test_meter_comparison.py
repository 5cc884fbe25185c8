"""What Stripe was told, and is not what was used, is named."""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta

import pytest

from consumers.stripe.meter_comparison import compare_meters
from consumers.verification import Verifier
from events import audits
from events.audits import Finding
from ledger.db import Connection
from ledger.verification import HOUR
from tests.consumers.exporting import Books
from tests.consumers.pipeline import Pipeline
from tests.stripe.clock import Clock
from tests.stripe.running import standing_in

DAY = timedelta(days=1)


@pytest.fixture
async def books(ledger: Connection, database_url: str) -> AsyncIterator[Books]:
    """Of two customers and two hours, told to Stripe a while ago."""
    async with standing_in(clock=Clock(), seed=1) as stripe:
        found = Books(ledger, database_url, stripe)
        found.a_meter()
        for account_id in [await found.a_customer() for _ in range(2)]:
            await found.use(account_id, 7)
            await found.use(account_id, 5, hours_before=1)
        await found.export()
        await ledger.execute("UPDATE usage_events SET recorded_at = recorded_at - interval '1 h'")
        await ledger.execute(
            """UPDATE stripe_meter_events SET frozen_at = frozen_at - interval '1 day',
            settled_at = settled_at - interval '1 day'"""
        )
        yield found


async def compare(books: Books) -> Sequence[Finding]:
    stripe = books.stripe.api()
    try:
        return await compare_meters(books.ledger, stripe, books.hour - DAY, books.hour + HOUR)
    finally:
        await stripe.close()


async def test_meters_that_balance_have_nothing_to_say(books: Books) -> None:
    assert not await compare(books)


@pytest.mark.parametrize(
    ("harm", "frozen", "had"),
    [
        ("DELETE FROM stripe_meter_events WHERE amount = 7", 0, 7),
        ("UPDATE stripe_meter_events SET amount = 8 WHERE amount = 7", 8, 7),
    ],
)
async def test_what_was_frozen_and_is_gone_or_altered_is_named(
    books: Books, harm: str, frozen: int, had: int
) -> None:
    await books.ledger.execute(harm)
    metered = [one.what for one in await compare(books) if one.kind == "metered"]
    at_stripe = [one.what for one in await compare(books) if one.kind == "stripe"]

    assert len(metered) == 2  # customers
    assert f"{books.hour:%Y-%m-%d %H:%M}: totals say 7," in metered[0]
    assert metered[0].endswith(f"adds up to {frozen:,}")
    assert all(what.endswith(f"was told {frozen:,} and has {had:,}") for what in at_stripe)


async def test_a_total_that_is_altered_is_named(books: Books) -> None:
    await books.ledger.execute("UPDATE usage_totals SET output_words = 6 WHERE output_words = 5")
    found = await compare(books)

    assert [one.kind for one in found] == ["metered", "metered"]
    assert found[0].what.endswith("totals say 6, what Stripe is told adds up to 5")


async def test_usage_that_came_since_is_the_next_pass_s(books: Books) -> None:
    account_id = await books.ledger.fetchval("SELECT id FROM accounts LIMIT 1")
    await books.use(account_id, 9)

    assert not await compare(books)


async def test_who_is_a_customer_since_just_now_is_told_of_by_the_next_pass(books: Books) -> None:
    await books.use(await books.a_customer(), 9)
    await books.ledger.execute("UPDATE usage_events SET recorded_at = recorded_at - interval '1 h'")
    (found,) = await compare(books)

    assert found.kind == "untold"
    assert found.what.endswith("totals say 9, what Stripe is told adds up to 0")


async def test_what_is_not_sent_is_said_and_no_error(books: Books) -> None:
    await books.ledger.execute("UPDATE stripe_meter_events SET fate = 'frozen' WHERE amount = 7")
    waiting, *_ = await compare(books)
    await books.ledger.execute(
        "UPDATE stripe_meter_events SET fate = 'parked', reason = 'why' WHERE fate = 'frozen'"
    )
    parked, *_ = await compare(books)

    assert (waiting.kind, parked.kind) == ("untold", "untold")
    assert waiting.what.startswith("frozen meter event ")
    assert waiting.what.endswith("not sent yet")
    assert parked.what.endswith("why")


@pytest.mark.parametrize(("words", "has"), [("6", 6), ("0", 0), ("70", 70)])
async def test_what_stripe_has_otherwise_is_named_with_its_hour(
    books: Books, words: str, has: int
) -> None:
    told = next(
        event
        for event in books.stripe.account.meter_events["words"]
        if event["payload"]["value"] == "7"
    )
    told["payload"]["value"] = words
    (found,) = await compare(books)

    customer = told["payload"]["stripe_customer_id"]
    assert found.kind == "stripe"
    assert found.what == (
        f"meter words, customer {customer}, hour {books.hour:%Y-%m-%d %H:%M}: "
        f"Stripe was told 7 and has {has}"
    )


async def test_what_was_told_just_now_may_not_be_added_up_yet(books: Books) -> None:
    books.stripe.account.meter_events["words"].clear()
    await books.ledger.execute("UPDATE stripe_meter_events SET settled_at = now()")

    assert {one.kind for one in await compare(books)} == {"untold"}


async def test_without_stripe_the_rest_is_compared(books: Books) -> None:
    await books.ledger.execute("UPDATE usage_totals SET output_words = 6 WHERE output_words = 5")
    books.stripe.control.fail(status=500, times=-1)
    *found, last = await compare(books)

    assert [one.kind for one in found] == ["metered", "metered"]
    assert last.kind == "untold"
    assert "could not be compared" in last.what


async def test_a_meter_that_is_gone_is_named(books: Books) -> None:
    for meter in list(books.stripe.account.newest("billing.meter")):
        meter["status"] = "inactive"

    found = await compare(books)

    assert {one.kind for one in found} == {"stripe"}
    assert "no active meter words, and 12 were told" in found[0].what


async def test_a_verification_asks_stripe_too(books: Books, pipeline: Pipeline) -> None:
    books.stripe.account.meter_events["words"].pop()
    stripe, now = books.stripe.api(), datetime.now(UTC)
    verifier = Verifier(
        pipeline.nats,
        books.ledger,
        since=now - DAY,
        until=now,
        kept_since=now - DAY,
        stripe=stripe,
    )
    try:
        found = await verifier.verify(read_stream=False)
    finally:
        await stripe.close()

    assert "stripe" in {one.kind for one in found.findings}
    assert not found.balanced
    assert audits.decode(audits.encode(found)) == found

"""What events leave open is asked of Stripe, whatever Stripe's day is like."""

import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from events import streams, stripe
from ledger.stripe.objects import MirroredObject, find_object
from tests.consumers.pipeline import Pipeline
from tests.stripe.app import KEY
from tests.stripe.clock import Clock
from tests.stripe.running import StandIn, standing_in
from tests.waiting import until


@pytest.fixture
async def stand_in() -> AsyncIterator[StandIn]:
    async with standing_in(clock=Clock(int(time.time()) - 600), seed=1) as running:
        yield running


def asking(stand_in: StandIn) -> dict[str, Any]:
    """Nothing is asked but what events leave open."""
    key = {"stripe_api_key": KEY, "stripe_api_base": stand_in.url}
    return {**key, "stripe_poll_s": 0.0, "stripe_sweep_s": 0.0}


def an_open_question(stand_in: StandIn) -> str:
    """A customer that is renamed, there and back, within a second."""
    customer: str = stand_in.account.post("/v1/customers", name="a")["id"]
    for name in ("b", "a"):
        stand_in.account.post(f"/v1/customers/{customer}", name=name)
    return customer


async def deliver(pipeline: Pipeline, stand_in: StandIn) -> None:
    """All that is at Stripe, the newest first."""
    jetstream = pipeline.nats.jetstream()
    for event in reversed(stand_in.account.journal.events):
        await jetstream.publish(stripe.subject(event.body), event.body)


async def until_settled(pipeline: Pipeline, customer: str) -> MirroredObject:
    async def settled() -> bool:
        found = await find_object(pipeline.ledger, customer)
        return found is not None and found.settled

    await until(settled)
    found = await find_object(pipeline.ledger, customer)
    assert found
    return found


async def test_stripe_is_asked_once_by_however_many_processes(
    pipeline: Pipeline, stand_in: StandIn
) -> None:
    customers = [an_open_question(stand_in) for _ in range(30)]
    settings = asking(stand_in)

    async with pipeline.consuming(**settings), pipeline.consuming(**settings):
        await deliver(pipeline, stand_in)
        await pipeline.until_settled(streams.STRIPE)
        for customer in customers:
            settled = await until_settled(pipeline, customer)
            assert '"name": "a"' in settled.object
            assert settled.fetched_at

    asked = [stand_in.requests("GET", f"/v1/customers/{customer}") for customer in customers]
    assert asked == [1] * len(customers)


@pytest.mark.parametrize("trouble", [{"status": 500}, {"body": "<html>"}, {"cut": True}, {}])
async def test_the_journal_goes_on_while_stripe_is_away(
    pipeline: Pipeline, stand_in: StandIn, trouble: dict[str, Any]
) -> None:
    customer = an_open_question(stand_in)
    if trouble:
        stand_in.control.fail(times=-1, **trouble)
    else:
        stand_in.control.revoke(KEY)

    async with pipeline.consuming(**asking(stand_in)):
        await deliver(pipeline, stand_in)
        await until(lambda: stand_in.requests("GET", f"/v1/customers/{customer}"))
        later = stand_in.account.post("/v1/customers", name="later")["id"]
        await deliver(pipeline, stand_in)
        await pipeline.until_settled(streams.STRIPE)
        waiting = await find_object(pipeline.ledger, customer)
        assert waiting
        assert not waiting.settled
        assert await find_object(pipeline.ledger, later)

        stand_in.control.mend()
        await until_settled(pipeline, customer)


@pytest.mark.parametrize("answer", [{"status": 400}, {"status": 403}, {"body": "{}"}])
async def test_what_stripe_refuses_holds_up_nothing_else(
    pipeline: Pipeline, stand_in: StandIn, answer: dict[str, Any]
) -> None:
    refused, other = an_open_question(stand_in), an_open_question(stand_in)
    stand_in.control.fail(times=-1, path=f"/v1/customers/{refused}", **answer)
    postponed = "SELECT ask_at > now() + interval '50 min' FROM stripe_objects WHERE id = $1"

    async with pipeline.consuming(**asking(stand_in)):
        await deliver(pipeline, stand_in)
        await until_settled(pipeline, other)
        await until(lambda: pipeline.ledger.fetchval(postponed, refused))

    assert stand_in.requests("GET", f"/v1/customers/{refused}") == 1


async def test_what_is_gone_at_stripe_is_gone(pipeline: Pipeline, stand_in: StandIn) -> None:
    customer = an_open_question(stand_in)
    told = list(stand_in.account.journal.events)
    stand_in.account.delete(f"/v1/customers/{customer}")
    jetstream = pipeline.nats.jetstream()

    async with pipeline.consuming(**asking(stand_in)):
        for event in told:  # all but the deletion
            await jetstream.publish(stripe.subject(event.body), event.body)
        await pipeline.until_settled(streams.STRIPE)
        settled = await until_settled(pipeline, customer)

    assert settled.deleted
    assert '"name": "a"' in settled.object


async def test_an_answer_that_cannot_be_kept_holds_up_nothing_else(
    pipeline: Pipeline, stand_in: StandIn
) -> None:
    customers = [an_open_question(stand_in) for _ in range(5)]
    told = list(stand_in.account.journal.events)
    stand_in.account.post(f"/v1/customers/{customers[2]}", name="a\0b")
    postponed = "SELECT ask_at > now() + interval '50 min' FROM stripe_objects WHERE id = $1"
    jetstream = pipeline.nats.jetstream()

    async with pipeline.consuming(**asking(stand_in)):
        for event in told:
            await jetstream.publish(stripe.subject(event.body), event.body)
        for customer in customers[:2] + customers[3:]:
            await until_settled(pipeline, customer)
        await until(lambda: pipeline.ledger.fetchval(postponed, customers[2]))

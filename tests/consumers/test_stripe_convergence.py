"""A thousand histories at Stripe, told as badly as can be, and what the ledger makes of them."""

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from consumers.stripe.passes import take_turn
from consumers.stripe.poll import Poll
from events import streams, stripe
from ledger.stripe.fetch import FETCHED
from ledger.stripe.passes import POLL
from tests.consumers.pipeline import Pipeline, kill
from tests.stripe.account import Account
from tests.stripe.app import KEY
from tests.stripe.clock import Clock
from tests.stripe.journal import Event
from tests.stripe.running import StandIn, standing_in
from tests.waiting import until

HISTORIES = 1_000
AGO_S = 3_600  # when they began
CHUNK = 500
UNSETTLED = "SELECT count(*) FROM stripe_objects WHERE ask_at IS NOT NULL AND type = ANY($1)"


def live(account: Account, chosen: random.Random, price: str) -> None:
    """One customer's history: what else happens in the same second is left to chance."""
    customer = account.post("/v1/customers", name="0")["id"]
    subscription = None
    for _ in range(chosen.randrange(1, 6)):
        pass_time(account, chosen)
        match chosen.choice(["name", "phone", "metadata", "subscribe", "cancel", "delete"]):
            case "metadata":
                account.post(f"/v1/customers/{customer}", metadata={"n": chosen.randrange(4)})
            case "subscribe" if not subscription:
                subscription = account.post(
                    "/v1/subscriptions",
                    customer=customer,
                    items=[{"price": price}],
                    trial_period_days=14,
                )["id"]
            case "subscribe" | "cancel" if subscription:
                account.post(
                    f"/v1/subscriptions/{subscription}",
                    cancel_at_period_end=chosen.random() < 0.5,
                )
            case "delete" if chosen.random() < 0.3:
                account.delete(f"/v1/customers/{customer}")
                return
            case field:
                told = "phone" if field == "phone" else "name"
                account.post(f"/v1/customers/{customer}", **{told: str(chosen.randrange(4))})


def pass_time(account: Account, chosen: random.Random) -> None:
    account.clock.move_to(account.clock.now() + chosen.choice([0, 1, 1, 1]))


def told(events: Sequence[Event], chosen: random.Random) -> list[bytes]:
    """What of it arrives, in which order, how often."""
    arriving = [
        event.body
        for event in events
        if chosen.random() >= 0.1
        for _ in range(1 + chosen.randrange(6) * (chosen.random() < 0.3))
    ]
    chosen.shuffle(arriving)
    return arriving + chosen.sample(arriving, len(arriving) // 20)  # stale


class Consuming:
    """Two processes of consumers, one of which dies now and then."""

    def __init__(self, pipeline: Pipeline, settings: dict[str, Any]) -> None:
        self.pipeline = pipeline
        self.settings = settings
        self.processes: list[asyncio.subprocess.Process] = []

    async def one_more(self) -> None:
        self.processes.append(await self.pipeline.a_process(**self.settings))

    async def one_less(self) -> None:
        await kill(self.processes.pop(0))


@asynccontextmanager
async def consuming(pipeline: Pipeline, **settings: Any) -> AsyncIterator[Consuming]:
    running = Consuming(pipeline, settings)
    try:
        await running.one_more()
        await running.one_more()
        yield running
    finally:
        while running.processes:
            await running.one_less()


async def deliver(pipeline: Pipeline, running: Consuming, bodies: Sequence[bytes]) -> None:
    """With a kill after each part."""
    jetstream = pipeline.nats.jetstream()
    parts = [bodies[start : start + CHUNK] for start in range(0, len(bodies), CHUNK)]
    for number, part in enumerate(parts):
        await asyncio.gather(*[jetstream.publish(stripe.subject(body), body) for body in part])
        if number % (len(parts) // 3) == 1:
            await running.one_less()
            await running.one_more()


async def poll(pipeline: Pipeline, stand_in: StandIn) -> None:
    """One polling cycle: it finds what never arrived."""
    api = stand_in.api()
    done = await take_turn(POLL, Poll(api, pipeline.nats).run, pipeline.ledger, every_s=60)
    assert done
    assert done.found
    await api.close()


async def wrong(pipeline: Pipeline, account: Account) -> list[str]:
    """The objects that are not what Stripe has."""
    rows = await pipeline.ledger.fetch("SELECT id, deleted, object FROM stripe_objects")
    kept = {row["id"]: row for row in rows}
    found = []
    for event in account.journal.events:
        about = event.json()["data"]["object"]
        object_id = about.get("id")
        if not object_id:
            continue
        truth = account.by_id[object_id]
        dead = truth.get("deleted", False) or truth.get("status") == "canceled"
        row = kept.get(object_id)
        same = row and (truth.get("deleted") or json.loads(row["object"]) == truth)
        if not row or row["deleted"] != dead or not same:
            found.append(object_id)
    return found


async def tell(pipeline: Pipeline, stand_in: StandIn, histories: int, **settings: Any) -> None:
    """Have histories happen, deliver them badly, and wait until nothing more is being done."""
    account, chosen = stand_in.account, random.Random(1)
    product = account.post("/v1/products", name="Tokens")["id"]
    price = account.post(
        "/v1/prices",
        product=product,
        currency="eur",
        unit_amount=1_000,
        recurring={"interval": "month"},
    )["id"]
    for _ in range(histories):
        live(account, chosen, price)
        account.clock.move_to(account.clock.now() + 1)
    bodies = told(account.journal.events, chosen)
    settings = {"stripe_api_base": stand_in.url, "stripe_poll_s": 0, "stripe_sweep_s": 0} | settings
    async with consuming(pipeline, **settings) as running:
        await deliver(pipeline, running, bodies)
        await pipeline.until_settled(streams.STRIPE)
        await poll(pipeline, stand_in)
        await pipeline.until_settled(streams.STRIPE)
        if "stripe_api_key" in settings:
            await until(lambda: nothing_asked(pipeline))


async def nothing_asked(pipeline: Pipeline) -> bool:
    unsettled: int = await pipeline.ledger.fetchval(UNSETTLED, FETCHED)
    return unsettled == 0


async def test_a_thousand_histories_end_as_stripe_has_them(pipeline: Pipeline) -> None:
    async with standing_in(clock=Clock(int(time.time()) - AGO_S), seed=1) as stand_in:
        await tell(
            pipeline, stand_in, HISTORIES, stripe_api_key=KEY, stripe_requests_per_second=1_000.0
        )

        assert await wrong(pipeline, stand_in.account) == []
        journaled = await pipeline.ledger.fetchval("SELECT count(*) FROM stripe_events")
        assert journaled == len(stand_in.account.journal.events)


async def test_without_asking_stripe_they_do_not(pipeline: Pipeline) -> None:
    async with standing_in(clock=Clock(int(time.time()) - AGO_S), seed=1) as stand_in:
        await tell(pipeline, stand_in, HISTORIES // 5)

        rows = await pipeline.ledger.fetch("SELECT id FROM stripe_objects WHERE ask_at IS NOT NULL")
        doubtful = {row["id"] for row in rows}
        assert doubtful >= set(await wrong(pipeline, stand_in.account)) > set()

"""Whatever Stripe says, nobody dies of it; and who says sense again is understood."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from consumers.keeping import TROUBLE
from consumers.redelivery import UNREADABLE
from consumers.stripe.meter_comparison import compare_meters
from consumers.stripe.metering import export
from consumers.stripe.poll import Poll
from consumers.stripe.settle import settle
from consumers.stripe.sweep import Sweep
from consumers.stripe.sync import Sync
from events.plans import Plan, Plans
from events.plans_file import PlansFile
from ledger.db import create_pool
from ledger.stripe.api import StripeApi
from ledger.stripe.customers import claim_customer, make_customer
from ledger.stripe.invoices import explain_invoice
from ledger.stripe.passes import POLL, SWEEP, SYNC, begin_pass
from tests.consumers.exporting import Books
from tests.consumers.pipeline import Pipeline
from tests.ledger.stripe_history import take_in
from tests.stripe.clock import Clock
from tests.stripe.nonsense import nonsense
from tests.stripe.running import StandIn, standing_in

UNHEALTHY = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
PLANS: Plans = {
    "default": Plan(name="default"),
    "pro": Plan(name="pro", lookup_keys=("pro", "pro_words")),
}
SUMMARY = "entitlements.active_entitlement_summary"


class World:
    """A shop at Stripe, a customer of it, and everybody who asks Stripe for something."""

    def __init__(self, pipeline: Pipeline, stripe: StandIn, api: StripeApi) -> None:
        self.pipeline = pipeline
        self.ledger = pipeline.ledger
        self.stripe = stripe
        self.api = api
        self.books = Books(pipeline.ledger, pipeline.database_url, stripe)
        self.real: dict[str, Any] = {}  # answers, by the path

    async def furnish(self) -> None:
        account = self.stripe.account
        meter = self.books.a_meter()
        product = account.post("/v1/products", name="Pro")["id"]
        feature = account.post("/v1/entitlements/features", name="f", lookup_key="pro")["id"]
        account.post(f"/v1/products/{product}/features", entitlement_feature=feature)
        monthly = {"product": product, "currency": "usd", "recurring": {"interval": "month"}}
        price = account.post("/v1/prices", **monthly, unit_amount=900, lookup_key="pro")["id"]
        monthly["recurring"] |= {"usage_type": "metered", "meter": meter}
        words = account.post("/v1/prices", **monthly, unit_amount=1, lookup_key="pro_words")["id"]
        self.account_id = await self.books.a_customer()
        self.customer = await self.ledger.fetchval(
            "SELECT stripe_customer FROM accounts WHERE id = $1", self.account_id
        )
        items = [{"price": price}, {"price": words}]
        account.post("/v1/subscriptions", customer=self.customer, items=items)
        await self.books.use(self.account_id, 7)
        paths = (
            *("/v1/events", "/v1/customers", f"/v1/customers/{self.customer}"),
            *("/v1/products", "/v1/prices", "/v1/subscriptions", "/v1/invoices"),
            *("/v1/entitlements/features", "/v1/billing/meters"),
        )
        self.real = {path: account.get(path) for path in paths}
        self.real["/v1/customers/search"] = self.real["/v1/customers"]
        self.real["/v1/entitlements/active_entitlements"] = account.get(
            "/v1/entitlements/active_entitlements", customer=self.customer
        )
        hour = int(self.books.hour.timestamp())
        self.sums = f"/v1/billing/meters/{meter}/event_summaries"
        span = {"start_time": hour, "end_time": hour + 3_600, "value_grouping_window": "hour"}
        await self.books.export()
        self.real[self.sums] = account.get(self.sums, customer=self.customer, **span)
        self.invoice = self.real["/v1/invoices"]["data"][0]

    async def ask(self) -> None:
        """Everybody asks, once; what goes wrong is what is expected to go wrong."""
        await self.ledger.execute("UPDATE stripe_objects SET ask_at = now() WHERE NOT deleted")
        later = datetime.now(UTC) + timedelta(days=1)
        await self.ledger.execute("UPDATE stripe_meter_events SET fate = 'frozen'")
        since = self.books.hour
        async with create_pool(self.pipeline.database_url) as pool:
            for work in (
                lambda: self.passing(POLL, Poll(self.api, self.pipeline.nats).run),
                lambda: self.passing(SYNC, Sync(self.api, PLANS, lambda _: None).run),
                lambda: self.passing(SWEEP, Sweep(self.api, PlansFile(None)).run),
                lambda: settle(pool, self.api, PLANS),
                lambda: export(pool, self.api, self.books.meters, asyncio.Event(), lambda: later),
                lambda: compare_meters(self.ledger, self.api, since, datetime.now(UTC)),
                lambda: make_customer(self.api, self.account_id, "Ada"),
                lambda: claim_customer(self.api, self.account_id, self.customer),
                lambda: explain_invoice(self.ledger, self.invoice["id"], self.api),
            ):
                await expected(work)

    async def passing(self, name: str, run: Callable[..., Awaitable[Any]]) -> None:
        await run(self.ledger, await begin_pass(self.ledger, name))


async def expected(work: Callable[[], Awaitable[Any]]) -> bool:
    """Whether it failed, and only in a way that its caller waits out."""
    try:
        await work()
    except (*TROUBLE, *UNREADABLE):
        return True
    return False


@pytest.fixture
async def world(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setattr("consumers.stripe.sweep.GRACE_S", 0.0)
    async with standing_in(clock=Clock(), seed=1) as stripe:
        api = stripe.api()
        made = World(pipeline, stripe, api)
        await made.furnish()
        yield made
        await api.close()


@settings(max_examples=25, suppress_health_check=UNHEALTHY)
@given(data=st.data())
async def test_nobody_dies_of_an_answer(world: World, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(sorted(world.real)))
    body = data.draw(nonsense(world.real[path]))
    world.stripe.control.mend()
    world.stripe.control.fail(path=path, body=body, times=-1)

    await world.ask()


async def test_who_says_sense_again_is_understood(world: World) -> None:
    for path, real in world.real.items():
        others = [None, *real.get("data", ())]
        for junk in ({}, {**real, "data": others}, {**real, "data": "\ud800"}):
            world.stripe.control.mend()
            world.stripe.control.fail(path=path, body=json.dumps(junk), times=-1)
            await world.ask()
    world.stripe.control.mend()

    await world.passing(SWEEP, Sweep(world.api, PlansFile(None)).run)
    sweep = Sweep(world.api, PlansFile(None))
    await world.passing(SWEEP, sweep.run)

    assert sweep.differences == []
    assert world.books.told() == await world.books.used()


async def test_control_who_trusts_an_answer_is_found_out(world: World) -> None:
    """So would everybody be who does not check what is there."""
    body = json.dumps({**world.real["/v1/billing/meters"], "data": [{"id": "mtr_1"}]})
    world.stripe.control.fail(path="/v1/billing/meters", body=body)

    async def trust() -> None:
        async for meter in world.api.pages("/v1/billing/meters"):
            assert meter["default_aggregation"]["formula"]

    with pytest.raises(KeyError):
        await expected(trust)


@settings(max_examples=100, suppress_health_check=UNHEALTHY)
@given(data=st.data())
async def test_no_event_is_more_than_refused(world: World, data: st.DataObject) -> None:
    """The journal's consumer parks what is refused, and goes on with the rest."""
    known = data.draw(st.sampled_from(world.stripe.account.journal.events))
    tie = {**known.json(), "id": f"evt_{time.monotonic_ns()}"}
    body = data.draw(nonsense(tie)).encode()

    if not await expected(lambda: take_in(world.ledger, body, plans=PLANS)):
        await world.ledger.fetch("SELECT * FROM customers")

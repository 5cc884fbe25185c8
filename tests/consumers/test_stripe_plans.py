import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from events import streams
from events.ids import new_id
from ledger.accounts import create_account, find_account
from ledger.plan_changes import find_terms, list_changes
from tests.consumers.pipeline import Pipeline
from tests.consumers.test_stripe import deliver
from tests.consumers.test_stripe_settle import asking
from tests.ledger.stripe_history import a_customer, a_subscription, an_event
from tests.stripe.clock import Clock
from tests.stripe.running import StandIn, standing_in
from tests.waiting import until

PLANS = """
[[plan]]
name = "default"

[[plan]]
name = "pro"
lookup_keys = ["pro_monthly"]
concurrency = 7
"""


class Customer:
    """One account, which is cus_1, and its plan."""

    def __init__(self, pipeline: Pipeline, plans: Path) -> None:
        self.pipeline = pipeline
        self.plans = plans
        self.id = new_id()

    def consuming(self, **settings: Any) -> AbstractAsyncContextManager[None]:
        settings = {"stripe_workers": 2, "plans_file": str(self.plans), **settings}
        return self.pipeline.consuming(**settings)

    async def subscribes(self, *lookup_keys: str, **fields: Any) -> None:
        subscription = a_subscription(*lookup_keys, **fields)
        await deliver(self.pipeline, an_event(subscription, created=int(time.time())))

    async def plan(self) -> str:
        account = await find_account(self.pipeline.ledger, self.id)
        assert account
        return account.plan

    async def until_on(self, plan: str) -> None:
        async def is_on() -> bool:
            return await self.plan() == plan

        await until(is_on)

    async def whys(self) -> list[str]:
        return [one.why for one in await list_changes(self.pipeline.ledger, self.id)]


@pytest.fixture
async def customer(pipeline: Pipeline, tmp_path: Path) -> Customer:
    plans = tmp_path / "plans.toml"
    plans.write_text(PLANS)
    customer = Customer(pipeline, plans)
    await create_account(pipeline.ledger, "Ada", account_id=customer.id)
    return customer


async def test_a_plan_follows_what_stripe_says(customer: Customer) -> None:
    named = a_customer(metadata={"tollgate_account": str(customer.id)})

    async with customer.consuming():
        await deliver(customer.pipeline, an_event(named))
        await customer.subscribes("pro_monthly")
        await customer.until_on("pro")
        await customer.pipeline.until_settled(streams.STRIPE)

        async def announced() -> bool:
            jetstream = customer.pipeline.nats.jetstream()
            message = await jetstream.get_last_msg(streams.ACCOUNTS, f"accounts.{customer.id}")
            return b'"plan":"pro"' in (message.data or b"")

        await until(announced)


async def test_a_plan_ends_when_its_time_has_come(customer: Customer) -> None:
    named = a_customer(metadata={"tollgate_account": str(customer.id)})
    async with customer.consuming():
        await deliver(customer.pipeline, an_event(named))
        await customer.subscribes("pro_monthly", cancel_at=int(time.time()) + 9_999)
        await customer.until_on("pro")

        # hours later, and Stripe has said nothing more
        earlier = "UPDATE stripe_objects SET object = object || '{\"cancel_at\": 1}'"
        await customer.pipeline.ledger.execute(earlier)
        await customer.pipeline.ledger.execute("UPDATE accounts SET stripe_plan_until = now()")
        await customer.until_on("default")

    assert (await customer.whys())[0] == "timer"


async def test_another_plans_file_is_followed(customer: Customer) -> None:
    named = a_customer(metadata={"tollgate_account": str(customer.id)})
    async with customer.consuming():
        await deliver(customer.pipeline, an_event(named))
        await customer.subscribes("pro_yearly")
        await customer.pipeline.until_settled(streams.STRIPE)
        assert await customer.plan() == "default"

        _replace(customer.plans, PLANS.replace('"pro_monthly"', '"pro_monthly", "pro_yearly"'))
        await customer.until_on("pro")
        _replace(customer.plans, "[[plan")  # refused: plans stay as they were
        assert (await customer.whys())[0] == "plans file"

    customer.plans.write_text(PLANS)
    async with customer.consuming():  # nobody looked when it changed
        await customer.until_on("default")

    now = await customer.pipeline.ledger.fetchval("SELECT now()")
    terms = await find_terms(customer.pipeline.ledger, customer.id, now)
    assert terms
    assert terms.terms


# --- on a Stripe with a mind of its own -------------------------------------------------

DAY_S = 86_400


@pytest.fixture
async def stand_in() -> AsyncIterator[StandIn]:
    """One whose clock is 33 days behind, so that a month can pass on it."""
    async with standing_in(clock=Clock(int(time.time()) - 33 * DAY_S), seed=1) as running:
        yield running


def sign_up(stand_in: StandIn, customer: Customer, **price: str) -> str:
    """A customer who names the account, and subscribes; their id."""
    stripe_customer: str = stand_in.account.post(
        "/v1/customers", metadata={"tollgate_account": str(customer.id)}
    )["id"]
    made = stand_in.account.post(
        "/v1/prices",
        product=stand_in.account.post("/v1/products", name="Pro")["id"],
        currency="eur",
        unit_amount=1_000,
        recurring={"interval": "month"},
        **price,
    )
    for number in range(12 if not price else 0):
        feature = stand_in.account.post(
            "/v1/entitlements/features",
            name=f"{number}",
            lookup_key=f"feature-{number}" if number else "pro_monthly",
        )
        stand_in.account.post(
            f"/v1/products/{made['product']}/features", entitlement_feature=feature["id"]
        )
    stand_in.account.post(
        "/v1/subscriptions", customer=stripe_customer, items=[{"price": made["id"]}]
    )
    return stripe_customer


async def deliver_all(customer: Customer, stand_in: StandIn) -> None:
    """All that Stripe has to tell, the newest first."""
    bodies = [event.body for event in stand_in.account.journal.events]
    await deliver(customer.pipeline, *reversed(bodies))
    await customer.pipeline.until_settled(streams.STRIPE)


async def test_a_plan_by_a_feature_beyond_the_tenth(customer: Customer, stand_in: StandIn) -> None:
    sign_up(stand_in, customer)
    async with customer.consuming():  # without a key: what events say, and no more
        await deliver_all(customer, stand_in)
        assert await customer.plan() == "default"
    async with customer.consuming(**asking(stand_in)):
        await customer.until_on("pro")


async def test_who_is_late_with_a_payment_keeps_the_plan_for_a_week(
    customer: Customer, stand_in: StandIn
) -> None:
    stripe_customer = sign_up(stand_in, customer, lookup_key="pro_monthly")
    stand_in.control.decline(stripe_customer)
    stand_in.control.advance(32 * DAY_S)  # a month, and a day: two to five days ago

    async def left() -> timedelta | None:
        found = "SELECT stripe_plan_until - now() FROM accounts"
        return cast("timedelta | None", await customer.pipeline.ledger.fetchval(found))

    async with customer.consuming(**asking(stand_in)):
        await deliver_all(customer, stand_in)
        await until(left)  # renewed and declined within a second: Stripe is asked

    assert timedelta(days=1.9) < (await left() or timedelta()) < timedelta(days=5.1)
    assert await customer.plan() == "pro"


def _replace(file: Path, text: str) -> None:
    """At once, as who edits it does."""
    other = file.with_suffix(".new")
    other.write_text(text)
    other.replace(file)

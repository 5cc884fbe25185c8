import time
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from events import streams
from events.ids import new_id
from ledger.accounts import create_account, find_account
from ledger.plan_changes import find_terms, list_changes
from tests.consumers.pipeline import Pipeline
from tests.consumers.test_stripe import deliver
from tests.ledger.stripe_history import a_customer, a_subscription, an_event
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

    def consuming(self) -> AbstractAsyncContextManager[None]:
        return self.pipeline.consuming(stripe_workers=2, plans_file=str(self.plans))

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


def _replace(file: Path, text: str) -> None:
    """At once, as who edits it does."""
    other = file.with_suffix(".new")
    other.write_text(text)
    other.replace(file)

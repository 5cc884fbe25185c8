"""Accounts become customers of Stripe's, once each, whoever comes first."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import UUID

import pytest

from consumers.stripe import customers
from consumers.stripe.customers import keep_customers
from events.ids import new_id
from events.plans_file import PlansFile
from ledger.accounts import create_account, find_account
from ledger.db import Connection, create_pool
from ledger.stripe.api import Json, StripeApi
from ledger.stripe.customers import list_jobs, make_customer
from ledger.stripe.objects import asking_at, find_object, store_objects
from tests.stripe.running import StandIn, standing_in
from tests.waiting import until


@pytest.fixture
async def stripe() -> AsyncIterator[StandIn]:
    async with standing_in() as running:
        yield running


@asynccontextmanager
async def working(stripe: StandIn, database_url: str, workers: int = 1) -> AsyncIterator[None]:
    stop, api = asyncio.Event(), stripe.api()
    async with create_pool(database_url, maximum=workers) as pool, asyncio.TaskGroup() as tasks:
        for _ in range(workers):
            tasks.create_task(keep_customers(pool, api, PlansFile(None), stop))
        try:
            yield
        finally:
            stop.set()
    await api.close()


async def customer_of(ledger: Connection, account_id: UUID) -> str | None:
    account = await find_account(ledger, account_id)
    assert account
    return account.stripe_customer


async def idle(ledger: Connection) -> bool:
    return not await list_jobs(ledger)


def at_stripe(stripe: StandIn) -> list[tuple[str, str]]:
    """The customers there, each with the account that it says it is."""
    page = stripe.account.get("/v1/customers", limit=100)["data"]
    return [(one["id"], one["metadata"].get("tollgate_account")) for one in page]


async def test_an_account_becomes_a_customer(
    ledger: Connection, database_url: str, stripe: StandIn
) -> None:
    account = await create_account(ledger, "Ada")

    async with working(stripe, database_url):
        await until(lambda: idle(ledger))

    customer = await customer_of(ledger, account.id)
    assert at_stripe(stripe) == [(customer, str(account.id))]
    kept = await find_object(ledger, str(customer))
    assert kept
    assert json.loads(kept.object) == stripe.account.get(f"/v1/customers/{customer}")
    assert json.loads(kept.object)["name"] == "Ada"


async def test_many_accounts_and_several_consumers_make_one_each(
    ledger: Connection, database_url: str, stripe: StandIn
) -> None:
    accounts = [await create_account(ledger, f"account {n}") for n in range(30)]

    async with working(stripe, database_url, workers=4):
        await until(lambda: idle(ledger))

    assert sorted(owner for _, owner in at_stripe(stripe)) == sorted(
        str(account.id) for account in accounts
    )
    assert stripe.requests("POST", "/v1/customers") == 30


async def test_a_customer_that_says_whose_it_is_is_not_made_again(
    ledger: Connection, database_url: str, stripe: StandIn
) -> None:
    account_id = new_id()
    there = stripe.account.post("/v1/customers", metadata={"tollgate_account": str(account_id)})
    await create_account(ledger, "Ada", account_id=account_id)

    async with working(stripe, database_url):
        await until(lambda: idle(ledger))

    assert await customer_of(ledger, account_id) == there["id"]
    assert len(at_stripe(stripe)) == 1


async def test_one_that_the_ledger_has_is_not_asked_for(
    ledger: Connection, database_url: str, stripe: StandIn
) -> None:
    account_id = new_id()
    there = stripe.account.post("/v1/customers", metadata={"tollgate_account": str(account_id)})
    async with ledger.transaction():
        await store_objects(ledger, [there], fetched_at=await asking_at(ledger))
    await create_account(ledger, "Ada", account_id=account_id)

    async with working(stripe, database_url):
        await until(lambda: idle(ledger))

    assert await customer_of(ledger, account_id) == there["id"]
    assert stripe.app.requests == []


async def test_nobody_is_matched_by_name_or_address(
    ledger: Connection, database_url: str, stripe: StandIn
) -> None:
    stripe.account.post("/v1/customers", name="Ada", email="ada@example.com")
    account = await create_account(ledger, "Ada")

    async with working(stripe, database_url):
        await until(lambda: idle(ledger))

    assert (await customer_of(ledger, account.id), str(account.id)) in at_stripe(stripe)
    assert len(at_stripe(stripe)) == 2


@pytest.mark.parametrize("lost", [{"cut": True}, {"status": 500}, {"body": "<html>"}])
async def test_an_answer_that_was_lost_makes_no_second_customer(
    ledger: Connection,
    database_url: str,
    stripe: StandIn,
    lost: dict[str, object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(customers, "DELAYS", (timedelta(0),))
    stripe.control.fail(path="/v1/customers", method="POST", times=4, after=True, **lost)
    account = await create_account(ledger, "Ada")

    async with working(stripe, database_url):
        await until(lambda: idle(ledger))

    assert at_stripe(stripe) == [(await customer_of(ledger, account.id), str(account.id))]


async def test_nonsense_of_stripes_keeps_an_account_waiting_and_nobody_else(
    ledger: Connection, database_url: str, stripe: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(customers, "DELAYS", (timedelta(0),))
    for method in ("GET", "POST"):
        stripe.control.fail(path="/v1/customers", method=method, body="{}")
    account = await create_account(ledger, "Ada")

    async with working(stripe, database_url):
        await until(lambda: idle(ledger))

    assert at_stripe(stripe) == [(await customer_of(ledger, account.id), str(account.id))]


async def test_a_customer_that_the_ledger_cannot_hold_keeps_nobody_else_waiting(
    ledger: Connection, database_url: str, stripe: StandIn
) -> None:
    ill = await create_account(ledger, "Ada")
    owner = {"tollgate_account": str(ill.id)}
    stripe.account.post("/v1/customers", description="\0", metadata=owner)
    well = [await create_account(ledger, f"account {n}") for n in range(3)]

    async def the_others_are() -> bool:
        return [job.account_id for job in await list_jobs(ledger)] == [ill.id]

    async with working(stripe, database_url):
        await until(the_others_are)

    (job,) = await list_jobs(ledger)
    assert "NUL" in (job.error or "")
    assert all([await customer_of(ledger, account.id) for account in well])


async def test_without_the_key_that_repeats_it_would(
    ledger: Connection, database_url: str, stripe: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control."""

    async def make(api: StripeApi, account_id: UUID, name: str) -> Json:
        metadata = {"tollgate_account": str(account_id)}
        key = str(new_id())
        return await api.post("/v1/customers", idempotency_key=key, name=name, metadata=metadata)

    monkeypatch.setattr(customers, "make_customer", make)
    monkeypatch.setattr(customers, "DELAYS", (timedelta(0),))
    stripe.control.fail(path="/v1/customers", method="POST", times=4, after=True, cut=True)
    await create_account(ledger, "Ada")

    async with working(stripe, database_url):
        await until(lambda: idle(ledger))

    assert len(at_stripe(stripe)) > 1


async def test_one_that_was_made_before_a_kill_is_found_after_a_day(
    ledger: Connection, database_url: str, stripe: StandIn
) -> None:
    account = await create_account(ledger, "Ada")
    api = stripe.api()
    made = await make_customer(api, account.id, "Ada")  # and killed, before it was written down
    await api.close()
    stripe.control.advance(2 * 86_400)  # Stripe has forgotten the idempotency key

    async with working(stripe, database_url):
        await until(lambda: idle(ledger))

    assert await customer_of(ledger, account.id) == made["id"]
    assert len(at_stripe(stripe)) == 1


async def test_what_keeps_an_account_waiting_is_kept(
    ledger: Connection, database_url: str, stripe: StandIn
) -> None:
    stripe.control.revoke("sk_test_standin")
    account = await create_account(ledger, "Ada")

    async def told() -> bool:
        (job,) = await list_jobs(ledger)
        return "Invalid API Key" in (job.error or "")

    async with working(stripe, database_url):
        await until(told)

    assert await customer_of(ledger, account.id) is None

"""A lost account of Stripe's, and a lost database, begun anew from an export."""

import asyncio
import json
import os
import signal
import stat
import sys
import time
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import psycopg
import pytest

from deploy.local.postgres import Postgres
from events import stripe as wire
from events.plans import read_plans
from ledger import accounts
from ledger.accounts import LedgerAccount, list_accounts
from ledger.api_keys import create_key, list_keys
from ledger.budgets import find_webhook, set_webhook
from ledger.db import Connection
from ledger.errors import BadExport, NotEmpty, PlansDiffer
from ledger.stripe.customers import list_jobs
from ledger.stripe.entitlements import follow
from ledger.stripe.events import ReceivedEvent, journal
from ledger.stripe.exports import read_export, write_export
from ledger.stripe.objects import asking_at, fold_objects, store_objects
from ledger.stripe.restore import Restore
from ledger.usage import fold_usage
from tests.conftest import TEMPLATE
from tests.stripe.account import Account
from tests.stripe.app import KEY
from tests.stripe.clock import Clock
from tests.stripe.running import StandIn, standing_in
from tests.usage import a_usage, recorded
from tests.waiting import until

DAY = 86_400
PLANS = """
[[plan]]
name = "default"

[[plan]]
name = "basic"
lookup_keys = ["basic_monthly"]

[[plan]]
name = "pro"
lookup_keys = ["pro_monthly", "pro_words"]

[[meter]]
event_name = "words"
unit = "input_words"
"""


class Business:
    """A few dozen customers at Stripe, in every state that there is."""

    def __init__(self, ledger: Connection, stripe: Account) -> None:
        self.ledger = ledger
        self.stripe = stripe
        meter = stripe.post(
            "/v1/billing/meters",
            display_name="Words",
            event_name="words",
            default_aggregation={"formula": "sum"},
        )
        product = stripe.post("/v1/products", name="API")["id"]
        month = {"interval": "month"}
        metered = {**month, "usage_type": "metered", "meter": meter["id"]}
        prices: dict[str, dict[str, Any]] = {
            "basic_monthly": {"unit_amount": 900, "recurring": month},
            "pro_monthly": {"unit_amount": 4_900, "recurring": month},
            "pro_words": {"unit_amount_decimal": "0.0001", "recurring": metered},
        }
        self.prices = {
            key: stripe.post(
                "/v1/prices", product=product, currency="usd", lookup_key=key, **price
            )["id"]
            for key, price in prices.items()
        }

    async def open(self, name: str) -> tuple[LedgerAccount, str]:
        """An account that is a customer."""
        account = await accounts.create_account(self.ledger, name)
        customer = self.stripe.post(
            "/v1/customers",
            name=name,
            email=f"{name.replace(' ', '.')}@example.com",
            metadata={"tollgate_account": str(account.id), "since": "2019"},
        )
        return account, customer["id"]

    async def subscribe(self, name: str, *keys: str, **params: Any) -> tuple[str, str]:
        _, customer = await self.open(name)
        items = [{"price": self.prices[key]} for key in keys]
        made = self.stripe.post("/v1/subscriptions", customer=customer, items=items, **params)
        return customer, made["id"]

    async def grow(self, control: Any) -> None:
        """Fifty days of it."""
        self.stripe.dunning = "unpaid"
        for n in range(3):
            customer, _ = await self.subscribe(f"unpaid {n}", "pro_monthly")
            control.decline(customer)
        control.advance(19 * DAY)
        for n in range(3):
            await self.subscribe(f"active {n}", "basic_monthly")
            await self.subscribe(f"metered {n}", "pro_monthly", "pro_words")
            late, _ = await self.subscribe(f"past due {n}", "pro_monthly")
            control.decline(late)
            _, broke = await self.open(f"incomplete {n}")
            control.decline(broke)
            items = [{"price": self.prices["pro_monthly"]}]
            self.stripe.post("/v1/subscriptions", customer=broke, items=items)
            _, gone = await self.subscribe(f"canceled {n}", "basic_monthly")
            self.stripe.delete(f"/v1/subscriptions/{gone}")
            trying, _ = await self.subscribe(
                f"paused {n}",
                "pro_monthly",
                trial_period_days=3,
                trial_settings={"end_behavior": {"missing_payment_method": "pause"}},
            )
            self.stripe.without_payment_method.add(trying)
        control.advance(31 * DAY)
        for n in range(3):
            await self.subscribe(f"trialing {n}", "pro_monthly", trial_period_days=14)
            await self.subscribe(f"leaving {n}", "pro_monthly", cancel_at_period_end=True)
            _, held = await self.subscribe(f"collection paused {n}", "basic_monthly")
            self.stripe.post(f"/v1/subscriptions/{held}", pause_collection={"behavior": "void"})
            await self.open(f"not subscribed {n}")
            account, _ = await self.open(f"agreed {n}")
            terms = {"plan": "basic", "limits": {"day": 9}, "concurrency": 3, "own_budget": 10**9}
            await accounts.change_account(self.ledger, account.id, terms)
            await create_key(self.ledger, account.id, "key", b"a-secret-of-the-edges")
            await accounts.grant_credit(self.ledger, account.id, 5 * 10**9, "welcome")
            await set_webhook(self.ledger, account.id, "https://example.com/hook")
        lone = await accounts.create_account(self.ledger, "no customer yet")
        await fold_usage(self.ledger, [recorded(a_usage(account_id=lone.id, cost=70))])

    async def follow(self, plans: Path) -> None:
        """Take in every event, and what Stripe says in the end."""
        now = datetime.now(UTC)
        received = [
            ReceivedEvent(
                event=wire.decode(event.body),
                payload=event.body.decode(),
                received_at=now + timedelta(microseconds=number),
            )
            for number, event in enumerate(self.stripe.journal.events)
        ]
        kinds = ("product", "price", "billing.meter", "customer", "subscription")
        objects = [one for kind in kinds for one in self.stripe.objects[kind].values()]
        async with self.ledger.transaction():
            await fold_objects(self.ledger, await journal(self.ledger, received))
        async with self.ledger.transaction():
            await store_objects(self.ledger, objects, fetched_at=await asking_at(self.ledger))
            customers = list(self.stripe.objects["customer"])
            await follow(self.ledger, customers, read_plans(plans))


@pytest.fixture
async def other(postgres: Postgres, postgres_url: str) -> AsyncIterator[str]:
    """Another migrated database, in which nothing is."""
    name = f"other_{uuid4().hex}"
    with psycopg.connect(postgres_url, autocommit=True) as session:
        session.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
        yield postgres.url(name)
        session.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def plans(tmp_path: Path) -> Path:
    path = tmp_path / "plans.toml"
    path.write_text(PLANS)
    return path


@pytest.fixture
async def business(ledger: Connection, plans: Path) -> AsyncIterator[Business]:
    clock = Clock(int(time.time()) - 50 * DAY)
    async with standing_in(clock=clock) as stripe:
        business = Business(ledger, stripe.account)
        await business.grow(stripe.control)
        await business.follow(plans)
        yield business


async def tollgate(
    *arguments: str, database: str, plans: Path, stripe: str = ""
) -> asyncio.subprocess.Process:
    """A `tollgate stripe` command in a process of its own."""
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "deploy.cli",
        "stripe",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={
            **os.environ,
            "TOLLGATE_HOME": "/nowhere",
            "TOLLGATE_DATABASE_URL": database,
            "TOLLGATE_PLANS_FILE": str(plans),
            "TOLLGATE_STRIPE_API_KEY": KEY if stripe else "",
            "TOLLGATE_STRIPE_API_BASE": stripe,
        },
    )


async def ended(process: asyncio.subprocess.Process) -> tuple[int, str]:
    output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()


def terms(account: LedgerAccount) -> tuple[object, ...]:
    return (
        account.name,
        account.plan,
        account.operator_plan,
        account.limits,
        account.concurrency,
        account.own_budget,
    )


async def held(url: str) -> Mapping[str, tuple[object, ...]]:
    """What every account has."""
    connection = await asyncpg.connect(url)
    try:
        return {str(one.id): terms(one) for one in await list_accounts(connection)}
    finally:
        await connection.close()


async def test_every_customer_has_the_same_plan_and_limits(  # noqa: PLR0917 - fixtures
    business: Business,
    ledger: Connection,
    database_url: str,
    other: str,
    plans: Path,
    tmp_path: Path,
) -> None:
    file = tmp_path / "export.jsonl"
    process = await tollgate("export", str(file), database=database_url, plans=plans)
    assert (await ended(process))[0] == 0
    async with standing_in() as stripe:
        options: dict[str, Any] = {"database": other, "plans": plans, "stripe": stripe.url}
        steps: Any = ([], "/v1/customers", 7), (["--continue"], "/v1/subscriptions", 5)
        for again, path, times in steps:
            process = await tollgate("restore", str(file), *again, **options)
            await until(lambda: stripe.requests("POST", path) >= times)  # noqa: B023 - now
            process.send_signal(signal.SIGKILL)
            await process.wait()
        process = await tollgate("restore", str(file), "--continue", **options)
        status, said = await ended(process)
        there = stripe.account.objects

    was, now = await held(database_url), await held(other)
    assert (status, "every account has its plan and its limits" in said) == (0, True), said
    assert was == now
    assert {plan for _, plan, *_ in now.values()} == {"default", "basic", "pro"}
    assert "was unpaid: not made again" in said
    assert "means of payment" in said
    assert len(there["customer"]) == len(business.stripe.objects["customer"])
    assert len(there["price"]) == 3
    assert {one["metadata"]["since"] for one in there["customer"].values()} == {"2019"}
    live = [one for one in there["subscription"].values() if one["pause_collection"]]
    assert [one["pause_collection"]["behavior"] for one in live] == ["void"] * 3
    statuses = sorted(one["status"] for one in there["subscription"].values())
    assert statuses == ["active"] * 15 + ["trialing"] * 3
    assert not any(one["amount_due"] for one in there["invoice"].values())
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    await _goes_on(ledger, other)


async def _goes_on(ledger: Connection, other: str) -> None:
    """Keys, credit and webhooks are as they were."""
    restored = await asyncpg.connect(other)
    assert await list_keys(restored) == await list_keys(ledger)
    for one in await list_accounts(ledger):
        assert await find_webhook(restored, one.id) == await find_webhook(ledger, one.id)
        credit = await accounts.list_credits(ledger, one.id)
        spent = await accounts.read_spent(ledger, one.id)
        found = await accounts.list_credits(restored, one.id)
        assert [given for given in found if given.amount > 0] == credit
        assert sum(given.amount for given in found) == sum(g.amount for g in credit) - spent
    waiting = [one.id for one in await list_accounts(ledger) if not one.stripe_customer]
    assert [job.account_id for job in await list_jobs(restored)] == waiting
    await restored.close()


async def export_of(business: Business, plans: Path) -> list[str]:
    return [line async for line in write_export(business.ledger, read_plans(plans))]


async def restore(
    lines: list[str], url: str, plans: Path, stripe: StandIn, *, go_on: bool = False
) -> list[str]:
    """In this process, as fast as it goes."""
    api, connection = stripe.api(), await asyncpg.connect(url)
    try:
        run = Restore(connection, api, read_export(lines), read_plans(plans), print)
        return list(await run.run(go_on=go_on))
    finally:
        await connection.close()
        await api.close()


async def test_it_begins_where_nothing_is(
    business: Business, other: str, plans: Path, database_url: str, tmp_path: Path
) -> None:
    lines = await export_of(business, plans)
    otherwise = tmp_path / "otherwise.toml"
    otherwise.write_text(PLANS.replace("pro_monthly", "pro_weekly"))
    async with standing_in() as stripe:
        with pytest.raises(NotEmpty, match="the ledger has accounts"):
            await restore(lines, database_url, plans, stripe)
        for half in (lines[:-5], lines[:3], [], ["Dear customer,"], [lines[0], *lines[2:]]):
            with pytest.raises(BadExport):
                await restore(half, other, plans, stripe)
        with pytest.raises(PlansDiffer, match="pro"):
            await restore(lines, other, otherwise, stripe)
        stripe.account.post("/v1/customers", name="somebody")
        for go_on in (False, True):
            with pytest.raises(NotEmpty, match="Stripe has customers"):
                await restore(lines, other, plans, stripe, go_on=go_on)

    assert await held(other) == {}
    assert stripe.requests("POST", "/v1/products") == 0


async def test_a_subscription_that_is_missing_is_seen(
    business: Business, other: str, plans: Path
) -> None:
    """The control: the comparison at the end is not for show."""
    lines = await export_of(business, plans)
    lost = next(
        number
        for number, line in enumerate(lines)
        if '"kind":"subscription"' in line and '"trialing"' in line
    )
    del lines[lost]
    lines[-1] = json.dumps({"records": len(lines) - 2})
    async with standing_in() as stripe:
        found = await restore(lines, other, plans, stripe)

        with pytest.raises(NotEmpty, match="this export was restored here"):
            await restore(lines, other, plans, stripe)

    (wrong,) = [one for one in found if one.startswith("account ")]
    assert wrong.endswith("plan was pro, and is default")

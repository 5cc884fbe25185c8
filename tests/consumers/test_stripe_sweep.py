"""What the ledger has otherwise than Stripe is noticed, named and repaired."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from consumers.stripe.passes import take_turn
from consumers.stripe.sweep import Sweep
from consumers.stripe.sync import Sync
from events.plans_file import PlansFile
from ledger.db import Connection
from ledger.stripe.api import StripeApi
from ledger.stripe.objects import find_object
from ledger.stripe.passes import SWEEP, SYNC, Pass, find_pass
from tests.consumers.pipeline import Pipeline
from tests.stripe.app import KEY
from tests.stripe.running import StandIn, standing_in
from tests.waiting import until

SUMMARY = "entitlements.active_entitlement_summary"


@pytest.fixture
async def stand_in(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[StandIn]:
    monkeypatch.setattr("consumers.stripe.sweep.GRACE_S", 0.01)
    async with standing_in() as running:
        yield running


@pytest.fixture
async def api(stand_in: StandIn) -> AsyncIterator[StripeApi]:
    opened = stand_in.api()
    yield opened
    await opened.close()


class Shop:
    """Some of everything at Stripe."""

    def __init__(self, stand_in: StandIn) -> None:
        self.account = stand_in.account
        self.product = self.account.post("/v1/products", name="Pro")["id"]
        self.price = self.account.post(
            "/v1/prices",
            product=self.product,
            currency="eur",
            unit_amount=1_000,
            lookup_key="pro",
            recurring={"interval": "month"},
        )["id"]
        for number in range(12):
            feature = self.account.post(
                "/v1/entitlements/features", name=f"{number}", lookup_key=f"feature-{number}"
            )["id"]
            path = f"/v1/products/{self.product}/features"
            self.account.post(path, entitlement_feature=feature)
        self.customers = [self.account.post("/v1/customers")["id"] for _ in range(5)]
        self.subscriptions = [
            self.account.post("/v1/subscriptions", customer=one, items=[{"price": self.price}])[
                "id"
            ]
            for one in self.customers
        ]


@pytest.fixture
def shop(stand_in: StandIn) -> Shop:
    return Shop(stand_in)


async def synchronize(ledger: Connection, api: StripeApi) -> Pass | None:
    run = Sync(api, PlansFile(None).plans, lambda _: None).run
    return await take_turn(SYNC, run, ledger, every_s=0)


async def sweep(ledger: Connection, api: StripeApi) -> list[str]:
    """What a sweep says it has found."""
    sweeping = Sweep(api, PlansFile(None))
    assert await take_turn(SWEEP, sweeping.run, ledger, every_s=86_400)
    return sorted(map(str, sweeping.differences))


async def mirrored(ledger: Connection) -> dict[str, Any]:
    """The objects that the ledger has, by id, as Stripe lists them."""
    rows = await ledger.fetch("SELECT id, object FROM stripe_objects WHERE type <> $1", SUMMARY)
    return {row["id"]: json.loads(row["object"]) for row in rows}


def listed(stand_in: StandIn) -> dict[str, Any]:
    kinds = ("customer", "product", "price", "entitlements.feature", "subscription", "invoice")
    found = stand_in.account.objects
    return {id_: one for kind in kinds for id_, one in found.get(kind, {}).items()}


async def test_all_that_stripe_has_is_taken_over(
    ledger: Connection, stand_in: StandIn, api: StripeApi, shop: Shop
) -> None:
    done = await synchronize(ledger, api)
    again = await synchronize(ledger, api)

    assert done
    assert again
    assert await mirrored(ledger) == listed(stand_in)
    assert (done.passed, done.found) == (len(listed(stand_in)) + 5, done.passed)
    assert (again.passed, again.found) == (done.passed, 0)
    summary = await find_object(ledger, f"{SUMMARY}:{shop.customers[0]}")
    assert summary
    assert len(json.loads(summary.object)["entitlements"]["data"]) == 12


async def test_one_that_is_cut_short_goes_on_where_it_was(
    ledger: Connection, stand_in: StandIn, api: StripeApi, shop: Shop
) -> None:
    for _ in range(250):
        stand_in.account.post("/v1/customers")
    stand_in.control.fail(path="/v1/customers", skip=2, status=401)

    assert await synchronize(ledger, api) is None
    broken = await find_pass(ledger, SYNC)
    done = await synchronize(ledger, api)

    assert broken
    assert done
    assert (broken.list, broken.passed) == ("/v1/customers", 200)
    assert stand_in.requests("GET", "/v1/customers") == 2 + 1 + 1
    assert await mirrored(ledger) == listed(stand_in)
    assert done.passed == len(listed(stand_in)) + len(shop.customers)


async def test_a_place_that_was_deleted_is_not_gone_on_from(
    ledger: Connection, stand_in: StandIn, api: StripeApi, shop: Shop
) -> None:
    for _ in range(150):
        stand_in.account.post("/v1/customers")
    stand_in.control.fail(path="/v1/customers", skip=1, status=401)
    await synchronize(ledger, api)
    broken = await find_pass(ledger, SYNC)
    assert broken
    stand_in.account.delete(f"/v1/customers/{broken.after}")

    assert await synchronize(ledger, api)

    assert (await mirrored(ledger)).keys() >= set(shop.customers)


async def test_a_ledger_that_is_equal_has_no_differences(
    ledger: Connection, stand_in: StandIn, api: StripeApi, shop: Shop
) -> None:
    stand_in.account.delete(f"/v1/subscriptions/{shop.subscriptions[0]}")
    await synchronize(ledger, api)

    assert await sweep(ledger, api) == []


async def test_many_objects_are_compared_some_at_a_time(
    ledger: Connection,
    stand_in: StandIn,
    api: StripeApi,
    shop: Shop,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("consumers.stripe.sweep.AT_ONCE", 2)
    monkeypatch.setattr("consumers.stripe.sync.AT_ONCE", 2)
    monkeypatch.setattr("ledger.stripe.comparison.PAGE", 3)
    await synchronize(ledger, api)
    for customer in shop.customers:
        stand_in.account.delete(f"/v1/customers/{customer}")

    found = await sweep(ledger, api)

    assert {one for one in found if one.startswith("gone")} == {
        f"gone: customer {customer}" for customer in shop.customers
    }
    assert await sweep(ledger, api) == []


async def test_what_a_restricted_key_may_not_read_keeps_nobody_from_the_rest(
    ledger: Connection, stand_in: StandIn, api: StripeApi, shop: Shop
) -> None:
    stand_in.control.fail(path="/v1/entitlements/features", status=403, times=-1)

    assert await synchronize(ledger, api) is None
    failed = await find_pass(ledger, SYNC)
    assert (await mirrored(ledger)).keys() >= {*shop.customers, *shop.subscriptions}
    stand_in.account.delete(f"/v1/subscriptions/{shop.subscriptions[0]}")
    sweeping = Sweep(api, PlansFile(None))
    assert await take_turn(SWEEP, sweeping.run, ledger, every_s=86_400) is None

    assert failed
    assert "/v1/entitlements/features" in failed.error
    assert "StripeNotPermitted" in failed.error
    ended = await find_object(ledger, shop.subscriptions[0])
    assert ended
    assert ended.deleted


async def test_each_difference_is_named_and_repaired(
    ledger: Connection, stand_in: StandIn, api: StripeApi, shop: Shop
) -> None:
    await synchronize(ledger, api)
    account = stand_in.account
    new = account.post("/v1/customers", name="new")["id"]
    account.post(f"/v1/customers/{shop.customers[0]}", name="renamed")
    account.delete(f"/v1/customers/{shop.customers[1]}")
    account.delete(f"/v1/subscriptions/{shop.subscriptions[2]}")
    account.post(f"/v1/prices/{shop.price}", lookup_key="enterprise")

    found = await sweep(ledger, api)
    again = await sweep(ledger, api)

    cancelled = "(canceled_at, cancellation_details, ended_at, status)"
    assert [one for one in found if SUMMARY not in one] == sorted(
        [
            f"differs: customer {shop.customers[0]} (name)",
            f"differs: price {shop.price} (lookup_key)",
            f"differs: subscription {shop.subscriptions[2]} {cancelled}",
            f"differs: subscription {shop.subscriptions[1]} (canceled_at, ended_at, status)",
            f"gone: customer {shop.customers[1]}",
            f"missing: customer {new}",
        ]
    )
    assert again == []
    subscription = await find_object(ledger, shop.subscriptions[2])
    assert subscription
    assert json.loads(subscription.object)["status"] == "canceled"
    gone = await find_object(ledger, shop.customers[1])
    assert gone
    assert gone.deleted
    state = await find_pass(ledger, SWEEP)
    assert state
    assert state.found == 0


async def test_what_a_customer_is_entitled_to_is_compared(
    ledger: Connection, stand_in: StandIn, api: StripeApi, shop: Shop
) -> None:
    await synchronize(ledger, api)
    attached = stand_in.account.get(f"/v1/products/{shop.product}/features")["data"][0]["id"]
    stand_in.account.delete(f"/v1/products/{shop.product}/features/{attached}")

    found = await sweep(ledger, api)

    assert found == sorted(
        f"differs: {SUMMARY} {SUMMARY}:{one} (entitlements)" for one in shop.customers
    )
    assert await sweep(ledger, api) == []


async def test_what_the_ledger_cannot_hold_keeps_nobody_from_it(
    ledger: Connection, stand_in: StandIn, api: StripeApi
) -> None:
    for name in ("\0", "\ud800"):
        stand_in.account.post("/v1/customers", name=name)
    names = (r"C:\u0000", "\N{GRINNING FACE}")
    good = {stand_in.account.post("/v1/customers", name=name)["id"] for name in names}

    done = await synchronize(ledger, api)

    assert done
    assert (done.passed, set(await mirrored(ledger))) == (4, good)
    assert await sweep(ledger, api) == []


async def test_a_key_of_another_account_deletes_nothing(
    ledger: Connection, api: StripeApi, shop: Shop
) -> None:
    for _ in range(10):
        shop.account.post("/v1/customers")
    await synchronize(ledger, api)
    async with standing_in() as another:
        other_api = another.api()
        sweeping = Sweep(other_api, PlansFile(None))

        assert await take_turn(SWEEP, sweeping.run, ledger, every_s=86_400) is None
        await other_api.close()

    state = await find_pass(ledger, SWEEP)
    assert state
    assert "the key sees none of the customers" in state.error
    assert await ledger.fetchval("SELECT count(*) FROM stripe_objects WHERE deleted") == 0


async def test_consumers_sweep_when_it_is_due(
    pipeline: Pipeline, stand_in: StandIn, shop: Shop
) -> None:
    settings = {"stripe_api_key": KEY, "stripe_api_base": stand_in.url, "stripe_poll_s": 0}
    async with pipeline.consuming(**settings, stripe_sweep_s=0.2):

        async def equal() -> bool:
            known = await mirrored(pipeline.ledger)
            return set(shop.customers + shop.subscriptions) <= known.keys()

        await until(equal)

"""Subscriptions, checkout and portal: what is asked of Stripe while a caller waits."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Struct
from nats.aio.client import Client

from edge.stripe.billing import CALLS_A_MINUTE
from events import stripe as wire
from events.plans import read_plans
from ledger.accounts import create_account, find_account
from ledger.api_keys import create_key
from ledger.db import Connection
from ledger.stripe.entitlements import follow
from ledger.stripe.events import ReceivedEvent, journal
from ledger.stripe.objects import fold_objects
from tests.edge.running import ADMIN_TOKEN, KEY_SECRET, Edge, running
from tests.stripe.app import KEY
from tests.stripe.nonsense import halves, nonsense
from tests.stripe.running import StandIn, standing_in
from tests.waiting import until

PLANS = """
[[plan]]
name = "default"

[[plan]]
name = "basic"
lookup_keys = ["basic_monthly", "basic_yearly"]

[[plan]]
name = "pro"
lookup_keys = ["pro_words", "pro_monthly"]

[[plan]]
name = "gift"
"""
URLS = {"success_url": "https://shop.example/yes", "cancel_url": "https://shop.example/no"}


class Shop(Struct, frozen=True):
    """An edge with a Stripe behind it, where plans are for sale."""

    edge: Edge
    stripe: StandIn
    ledger: Connection
    plans: Path

    def customer(self) -> httpx.AsyncClient:
        return self.edge.client()

    def operator(self) -> httpx.AsyncClient:
        return self.edge.client(Authorization=f"Bearer {ADMIN_TOKEN}")

    @property
    def admin_path(self) -> str:
        return f"/v1/admin/accounts/{self.edge.account.id}"

    async def plan(self) -> str:
        account = await find_account(self.ledger, self.edge.account.id)
        assert account
        return account.plan

    def subscriptions(self, status: str = "all") -> list[dict[str, Any]]:
        found = self.stripe.account.get("/v1/subscriptions", status=status)["data"]
        assert isinstance(found, list)
        return found

    async def changes(self) -> int:
        """How often it was announced and recorded that the account has another plan."""
        query = "SELECT count(*) FROM plan_changes WHERE account_id = $1 AND plan <> plan_before"
        count: int = await self.ledger.fetchval(query, self.edge.account.id)
        return count

    async def hear(self) -> None:
        """Take in all of Stripe's events, as the consumers do."""
        now = datetime.now(UTC)
        received = [
            ReceivedEvent(
                event=wire.decode(one.body),
                payload=one.body.decode(),
                received_at=now + timedelta(milliseconds=number),
            )
            for number, one in enumerate(self.stripe.account.journal.events)
        ]
        async with self.ledger.transaction():
            changed = await fold_objects(self.ledger, await journal(self.ledger, received))
            await follow(self.ledger, changed.customers, read_plans(self.plans))


class FrozenTime:
    """A minute that does not end in mid-test."""

    @staticmethod
    def time() -> float:
        return 1_795_000_005.0


@pytest.fixture
async def stripe() -> AsyncIterator[StandIn]:
    async with standing_in() as started:
        product = started.account.post("/v1/products", name="API")
        for number, key in enumerate(("basic_monthly", "basic_yearly", "pro_monthly"), start=1):
            started.account.post(
                "/v1/prices",
                product=product["id"],
                currency="usd",
                unit_amount=1_000 * number,
                lookup_key=key,
                recurring={"interval": "month"},
            )
        meter = started.account.post(
            "/v1/billing/meters",
            display_name="Words",
            event_name="words",
            default_aggregation={"formula": "sum"},
        )
        started.account.post(
            "/v1/prices",
            product=product["id"],
            currency="usd",
            unit_amount_decimal="0.01",
            lookup_key="pro_words",
            recurring={"interval": "month", "usage_type": "metered", "meter": meter["id"]},
        )
        yield started


@pytest.fixture
async def shop(  # noqa: PLR0917 - fixtures, by name
    nats: Client,
    nats_url: str,
    database_url: str,
    ledger: Connection,
    stripe: StandIn,
    tmp_path: Path,
) -> AsyncIterator[Shop]:
    plans = tmp_path / "plans.toml"
    plans.write_text(PLANS)
    settings = {
        "plans_file": str(plans),
        "stripe_api_key": KEY,
        "stripe_api_base": stripe.url,
    }
    async with running(nats, nats_url, database_url, ledger, **settings) as edge:
        yield Shop(edge, stripe, ledger, plans)


async def test_a_customer_subscribes_changes_its_mind_and_leaves(shop: Shop) -> None:
    async with shop.customer() as client:
        none = await client.get("/v1/billing/subscription")
        made = await client.post("/v1/billing/subscription", json={"plan": "basic"})
        on_basic = await shop.plan()
        changed = await client.patch("/v1/billing/subscription", json={"plan": "pro"})
        on_pro = await shop.plan()
        leaving = await client.delete("/v1/billing/subscription")
        stays = await client.patch("/v1/billing/subscription", json={"cancel_at_period_end": False})
        gone = await client.delete("/v1/billing/subscription?at=now")
        seen = await client.get("/v1/billing/subscription")
        again = await client.post("/v1/billing/subscription", json={"plan": "pro"})

    assert (none.status_code, none.json()["code"]) == (404, "no_subscription")
    assert made.status_code == 201
    assert (made.json()["status"], made.json()["plan"], on_basic) == ("active", "basic", "basic")
    assert made.json()["price"] == "basic_monthly"
    assert (changed.json()["plan"], on_pro) == ("pro", "pro")
    assert leaving.json()["cancel_at_period_end"]
    assert leaving.json()["status"] == "active"
    assert not stays.json()["cancel_at_period_end"]
    assert gone.json()["status"] == seen.json()["status"] == "canceled"
    assert again.json()["id"] != made.json()["id"]
    assert await shop.plan() == "pro"
    assert [one["status"] for one in shop.subscriptions()] == ["active", "canceled"]


async def test_what_is_metered_comes_with_its_plan_and_goes_with_it(shop: Shop) -> None:
    def keys() -> list[str]:
        (found,) = shop.subscriptions()
        return [item["price"]["lookup_key"] for item in found["items"]["data"]]

    async with shop.customer() as client:
        await client.post("/v1/billing/subscription", json={"plan": "pro"})
        on_pro = keys()
        await client.patch("/v1/billing/subscription", json={"plan": "basic"})
        on_basic = keys()
        await client.patch("/v1/billing/subscription", json={"plan": "pro"})
        same = await client.patch("/v1/billing/subscription", json={"plan": "pro"})

    assert on_pro == ["pro_monthly", "pro_words"]
    assert on_basic == ["basic_monthly"]
    assert keys() == ["pro_monthly", "pro_words"]
    assert (same.status_code, same.json()["plan"]) == (200, "pro")


async def test_three_clicks_at_once_make_one_subscription(shop: Shop) -> None:
    async with shop.customer() as client:
        answers = await asyncio.gather(
            *[client.post("/v1/billing/subscription", json={"plan": "pro"}) for _ in range(3)]
        )
        later = await client.post("/v1/billing/subscription", json={"plan": "pro"})
        other = await client.post("/v1/billing/subscription", json={"plan": "basic"})

    assert [answer.status_code for answer in answers] == [201] * 3
    assert len({answer.json()["id"] for answer in [*answers, later]}) == 1
    assert (other.status_code, other.json()["code"]) == (409, "already_subscribed")
    assert len(shop.subscriptions()) == 1
    assert len(shop.stripe.account.get("/v1/customers")["data"]) == 1


async def test_without_keys_that_repeat_three_clicks_would_make_three(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control."""
    monkeypatch.setattr(
        shop.stripe.app, "_idempotency", type("Forgetful", (), {"find": _none, "keep": _none})()
    )
    async with shop.customer() as client:
        await asyncio.gather(
            *[client.post("/v1/billing/subscription", json={"plan": "pro"}) for _ in range(3)]
        )

    assert len(shop.subscriptions()) > 1


def _none(*_: object) -> None:
    return None


async def test_a_plan_is_kept_by_its_price_unless_another_is_named(shop: Shop) -> None:
    yearly = {"plan": "basic", "price": "basic_yearly"}
    async with shop.customer() as client:
        await client.post("/v1/billing/subscription", json={"plan": "basic"})
        same = await client.post("/v1/billing/subscription", json={"plan": "basic"})
        other = await client.post("/v1/billing/subscription", json=yearly)
        changed = await client.patch("/v1/billing/subscription", json=yearly)
        kept = await client.patch("/v1/billing/subscription", json={"plan": "basic"})

    assert (same.status_code, same.json()["price"]) == (201, "basic_monthly")
    assert (other.status_code, other.json()["code"]) == (409, "already_subscribed")
    assert "basic_monthly" in other.json()["message"]
    assert changed.json()["price"] == kept.json()["price"] == "basic_yearly"
    assert len(shop.subscriptions()) == 1


async def test_a_price_that_is_paid_once_shares_no_invoice_with_one_that_is_metered(
    shop: Shop,
) -> None:
    (product,) = shop.stripe.account.get("/v1/products")["data"]
    (monthly,) = shop.stripe.account.get("/v1/prices", lookup_keys=["pro_monthly"])["data"]
    shop.stripe.account.post(f"/v1/prices/{monthly['id']}", lookup_key="pro_before")
    shop.stripe.account.post(
        "/v1/prices",
        product=product["id"],
        currency="usd",
        unit_amount=9_900,
        lookup_key="pro_monthly",
    )
    async with shop.customer() as client:
        page = await client.post("/v1/billing/checkout", json={"plan": "pro", **URLS})

    assert page.status_code < 500


async def test_one_account_leaves_stripe_to_the_others(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.stripe.billing.time", FrozenTime)
    asked = {"return_url": "https://shop.example"}
    async with shop.customer() as client:
        answers = await asyncio.gather(
            *[client.post("/v1/billing/portal", json=asked) for _ in range(CALLS_A_MINUTE + 5)]
        )
        seen = await client.get("/v1/billing/subscription")
    other = await create_account(shop.ledger, "Bob")
    async with shop.operator() as client:
        path = f"/v1/admin/accounts/{other.id}/subscription"
        another = await client.post(path, json={"plan": "pro"})

    refused = [answer for answer in answers if answer.status_code == 429]
    assert sum(answer.status_code == 201 for answer in answers) == CALLS_A_MINUTE
    assert len(refused) == 5
    assert refused[0].json()["code"] == "rate_limited"
    assert 0 < int(refused[0].headers["retry-after"]) <= 60
    assert seen.status_code == 404  # of the ledger, not of Stripe
    assert another.status_code == 201


async def test_two_plans_at_once_are_one_subscription_too(shop: Shop) -> None:
    async with shop.customer() as client:
        answers = await asyncio.gather(
            *[
                client.post("/v1/billing/subscription", json={"plan": plan})
                for plan in ("basic", "pro") * 3
            ]
        )

    assert {answer.status_code for answer in answers} == {201, 409}
    assert len(shop.subscriptions()) == 1


async def test_who_leaves_at_once_pays_for_what_was_used(shop: Shop) -> None:
    stripe = shop.stripe
    async with shop.customer() as client:
        await client.post("/v1/billing/subscription", json={"plan": "pro"})
        (customer,) = stripe.account.get("/v1/customers")["data"]
        stripe.account.post(
            "/v1/billing/meter_events",
            event_name="words",
            payload={"stripe_customer_id": customer["id"], "value": "700"},
        )
        stripe.control.advance(60)
        await client.delete("/v1/billing/subscription?at=now")

    invoice = stripe.account.get("/v1/invoices")["data"][0]
    assert 700 in [line["quantity"] for line in invoice["lines"]["data"]]
    assert (invoice["status"], invoice["total"]) == ("paid", 7)


async def test_an_answer_that_was_lost_makes_no_second_subscription(shop: Shop) -> None:
    for lost in ({"cut": True}, {"status": 500}, {"body": "<html>"}):
        failure = {"path": "/v1/subscriptions", "method": "POST", "after": True, **lost}
        shop.stripe.control.fail(**failure)

    async def subscribed() -> bool:
        answer = await client.post("/v1/billing/subscription", json={"plan": "pro"})
        assert answer.status_code in (201, 503), answer.text
        assert answer.is_success or int(answer.headers["retry-after"]) > 0
        return answer.is_success

    async with shop.customer() as client:
        await until(subscribed)

    assert len(shop.subscriptions()) == 1
    assert await shop.plan() == "pro"


async def test_the_webhook_that_comes_later_is_no_news(shop: Shop) -> None:
    async with shop.customer() as client:
        await client.post("/v1/billing/subscription", json={"plan": "pro"})
    told = await shop.changes()

    await shop.hear()

    assert told == await shop.changes() == 1
    assert await shop.plan() == "pro"


async def test_the_webhook_alone_would_be_news(shop: Shop) -> None:
    """The control: without the answer stored at once, the event is what changes the plan."""
    async with shop.operator() as client:
        await client.put(f"{shop.admin_path}/stripe-customer", json={"customer": a_customer(shop)})
    (price,) = shop.stripe.account.get("/v1/prices", lookup_keys=["pro_monthly"])["data"]
    (customer,) = shop.stripe.account.get("/v1/customers")["data"]
    shop.stripe.account.post(
        "/v1/subscriptions", customer=customer["id"], items=[{"price": price["id"]}]
    )

    await shop.hear()

    assert await shop.changes() == 1


async def test_a_card_that_is_declined_is_told_in_stripes_words(shop: Shop) -> None:
    async with shop.customer() as client:
        await client.post("/v1/billing/portal", json={"return_url": "https://shop.example"})
        (customer,) = shop.stripe.account.get("/v1/customers")["data"]
        shop.stripe.control.decline(customer["id"])
        refused = await client.post("/v1/billing/subscription", json={"plan": "pro"})
        shop.stripe.control.accept(customer["id"])
        made = await client.post("/v1/billing/subscription", json={"plan": "pro"})

    assert (refused.status_code, refused.json()["code"]) == (402, "payment_failed")
    assert refused.json()["message"] == "Your card was declined."
    assert made.status_code == 201


async def test_a_customer_pays_at_the_checkout(shop: Shop) -> None:
    asked = {"plan": "basic", "price": "basic_yearly", **URLS}
    async with shop.customer() as client:
        pages = [await client.post("/v1/billing/checkout", json=asked) for _ in range(2)]
        session = shop.stripe.account.get("/v1/checkout/sessions")["data"]
        shop.stripe.control.complete(session[0]["id"])
        used = await client.post("/v1/billing/checkout", json=asked)
        await shop.hear()
        twice = await client.post("/v1/billing/checkout", json=asked)
        portal = await client.post(
            "/v1/billing/portal", json={"return_url": "https://shop.example"}
        )

    assert [page.status_code for page in pages] == [201, 201]
    assert pages[0].json()["url"] == pages[1].json()["url"] == session[0]["url"]
    assert len(session) == 1
    assert await shop.plan() == "basic"
    assert (used.status_code, used.json()["code"]) == (409, "already_subscribed")
    assert (twice.status_code, twice.json()["code"]) == (409, "already_subscribed")
    assert portal.json()["url"].startswith("https://billing.stripe.com/")


async def test_who_was_deleted_at_stripe_is_another_customer_at_the_next_checkout(
    shop: Shop,
) -> None:
    asked = {"plan": "basic", **URLS}
    async with shop.customer() as client:
        await client.post("/v1/billing/subscription", json={"plan": "pro"})
        (first,) = shop.stripe.account.get("/v1/customers")["data"]
        shop.stripe.account.delete(f"/v1/customers/{first['id']}")
        await shop.hear()
        on_none = await shop.plan()
        page = await client.post("/v1/billing/checkout", json=asked)

    (second,) = shop.stripe.account.get("/v1/customers")["data"]
    assert (on_none, page.status_code) == ("default", 201)
    assert second["id"] != first["id"]
    assert second["metadata"] == first["metadata"]


async def test_who_left_can_come_back_within_the_hour(shop: Shop) -> None:
    """The old page is paid and done: a repeat of its call would bring it back."""
    asked = {"plan": "basic", **URLS}
    async with shop.customer() as client:
        first = await client.post("/v1/billing/checkout", json=asked)
        (session,) = shop.stripe.account.get("/v1/checkout/sessions")["data"]
        shop.stripe.control.complete(session["id"])
        await shop.hear()
        (subscription,) = shop.subscriptions()
        shop.stripe.account.delete(f"/v1/subscriptions/{subscription['id']}")  # in the portal
        await shop.hear()
        second = await client.post("/v1/billing/checkout", json=asked)

    assert (first.status_code, second.status_code) == (201, 201)
    assert second.json()["url"] != first.json()["url"]


async def test_who_left_can_subscribe_again_after_an_answer_that_was_lost(shop: Shop) -> None:
    failure = {"path": "/v1/subscriptions", "method": "POST", "after": True, "body": "<html>"}
    shop.stripe.control.fail(**failure)
    async with shop.customer() as client:
        lost = await client.post("/v1/billing/subscription", json={"plan": "pro"})
        await shop.hear()
        (first,) = shop.subscriptions()
        shop.stripe.account.delete(f"/v1/subscriptions/{first['id']}")
        await shop.hear()
        made = await client.post("/v1/billing/subscription", json={"plan": "pro"})

    assert (lost.status_code, made.status_code) == (503, 201)
    assert made.json()["id"] != first["id"]
    assert await shop.plan() == "pro"
    assert [one["status"] for one in shop.subscriptions()] == ["active", "canceled"]


async def test_an_old_answer_is_not_taken_for_the_state_of_now(shop: Shop) -> None:
    """To Stripe the second call is the first one: it says again what it said then."""
    async with shop.customer() as client:
        made = await client.post("/v1/billing/subscription", json={"plan": "basic"})
        path = f"/v1/subscriptions/{made.json()['id']}"
        shop.stripe.control.fail(path=path, method="POST", after=True, body="<html>")
        lost = await client.patch("/v1/billing/subscription", json={"plan": "pro"})
        (one,) = shop.subscriptions()
        (basic,) = shop.stripe.account.get("/v1/prices", lookup_keys=["basic_monthly"])["data"]
        items = [
            {"id": item["id"]}
            | ({"price": basic["id"]} if item["price"]["unit_amount"] else {"deleted": True})
            for item in one["items"]["data"]
        ]
        shop.stripe.account.post(path, items=items)  # in the portal: back to where it was
        seen = await client.patch("/v1/billing/subscription", json={"plan": "pro"})

    (now,) = shop.subscriptions()
    paid = {item["price"]["lookup_key"] for item in now["items"]["data"]}
    assert lost.status_code == 503
    assert seen.status_code == 200
    assert (await shop.plan() == "pro") == ("pro_monthly" in paid)
    assert seen.json()["plan"] == await shop.plan()


async def test_what_cannot_be_meant_is_named(shop: Shop) -> None:
    bad: list[tuple[str, dict[str, object], int, str]] = [
        ("subscription", {"plan": "none"}, 422, "no plan 'none'"),
        ("subscription", {"plan": "gift"}, 422, "not for sale"),
        ("subscription", {"plan": "basic", "price": "pro_monthly"}, 422, "no price"),
        ("subscription", {}, 400, "plan"),
        ("subscription", {"plan": "pro", "quantity": 3}, 400, "quantity"),
        ("checkout", {"plan": "pro"}, 400, "success_url"),
        ("checkout", {"plan": "pro", **URLS, "cancel_url": "javascript:alert(1)"}, 400, "cancel"),
        ("portal", {"return_url": ""}, 400, "return_url"),
    ]
    async with shop.customer() as client:
        for path, body, status, said in bad:
            answer = await client.post(f"/v1/billing/{path}", json=body)
            assert answer.status_code == status, answer.text
            assert said in answer.json()["message"]
        no_plan = await client.patch("/v1/billing/subscription", json={"price": "basic_yearly"})
        unpaid = await client.patch(
            "/v1/billing/subscription", json={"plan": "pro", "proration": "none"}
        )

    assert (unpaid.status_code, "proration" in unpaid.json()["message"]) == (400, True)
    assert (no_plan.status_code, no_plan.json()["error"]["param"]) == (422, "plan")


async def test_the_operator_does_it_for_a_customer(shop: Shop) -> None:
    path = f"{shop.admin_path}/subscription"
    async with shop.operator() as client:
        made = await client.post(path, json={"plan": "basic"})
        changed = await client.patch(path, json={"plan": "pro", "proration": "none"})
        seen = await client.get(path)
        gone = await client.delete(f"{path}?at=now")
        late = await client.delete(path)
        nobody = await client.get(path.replace(str(shop.edge.account.id), "0" * 32))

    assert (made.status_code, changed.json()["plan"], seen.json()["plan"]) == (201, "pro", "pro")
    assert gone.json()["status"] == "canceled"
    assert (late.status_code, late.json()["code"]) == (404, "no_subscription")
    assert nobody.status_code == 404
    assert await shop.plan() == "default"


def a_customer(shop: Shop, **metadata: str) -> str:
    made = shop.stripe.account.post("/v1/customers", email="ada@example.com", metadata=metadata)
    return str(made["id"])


async def test_the_operator_says_whose_customer_an_account_is(shop: Shop) -> None:
    path = f"{shop.admin_path}/stripe-customer"
    theirs = await create_account(shop.ledger, "somebody else")
    first, second = a_customer(shop), a_customer(shop)
    others = a_customer(shop, tollgate_account=str(theirs.id))
    async with shop.operator() as client:
        answers = [
            await client.put(path, json={"customer": customer})
            for customer in (first, second, others, "cus_nobody", "ada@example.com")
        ]
    account = await find_account(shop.ledger, shop.edge.account.id)

    assert [answer.status_code for answer in answers] == [200, 200, 409, 422, 400]
    assert answers[2].json()["code"] == "customer_conflict"
    assert account
    assert account.stripe_customer == second
    metadata = shop.stripe.account.get(f"/v1/customers/{second}")["metadata"]
    assert metadata == {"tollgate_account": str(account.id)}


async def test_stripe_is_away(shop: Shop) -> None:
    failures: list[tuple[dict[str, Any], str]] = [
        ({"status": 500}, "stripe_unavailable"),
        ({"cut": True}, "stripe_unavailable"),
        ({"body": "[]"}, "stripe_unavailable"),
        ({"status": 401}, "billing_not_configured"),
        ({"status": 403}, "billing_not_configured"),
    ]
    async with shop.customer() as client:
        for failure, code in failures:
            shop.stripe.control.fail(times=-1, **failure)
            answer = await client.post("/v1/billing/subscription", json={"plan": "pro"})
            seen = await client.get("/v1/billing/subscription")
            shop.stripe.control.mend()

            assert (answer.status_code, answer.json()["code"]) == (503, code)
            assert "sk_test" not in answer.text
            assert (code == "stripe_unavailable") == ("retry-after" in answer.headers)
            assert seen.status_code == 404  # of the ledger alone


async def test_without_a_key_billing_says_what_is_missing(edge: Edge) -> None:
    async with edge.client() as client:
        answers = [
            await client.post("/v1/billing/checkout", json={"plan": "default", **URLS}),
            await client.post("/v1/billing/subscription", json={"plan": "default"}),
            await client.delete("/v1/billing/subscription"),
        ]
        seen = await client.get("/v1/billing/subscription")

    assert [answer.status_code for answer in answers] == [503] * 3
    assert {answer.json()["code"] for answer in answers} == {"billing_not_configured"}
    assert "TOLLGATE_STRIPE_API_KEY" in answers[0].json()["message"]
    assert seen.status_code == 404


async def test_nobody_sees_anothers_subscription(shop: Shop) -> None:
    other = await create_account(shop.ledger, "other")
    _, plain = await create_key(shop.ledger, other.id, "other", KEY_SECRET.encode())
    async with shop.customer() as client:
        await client.post("/v1/billing/subscription", json={"plan": "pro"})
    async with shop.edge.client(Authorization=f"Bearer {plain}") as client:
        seen = await client.get("/v1/billing/subscription")
        ended = await client.delete("/v1/billing/subscription")

    assert (seen.status_code, ended.status_code) == (404, 404)


@settings(
    max_examples=15,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
async def test_nonsense_of_stripes_is_never_a_fault_of_ours(
    shop: Shop, data: st.DataObject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.stripe.billing.CALLS_A_MINUTE", 10_000)
    real = answers_of_stripes(shop)
    path = data.draw(st.sampled_from(sorted(real)))

    await hear(shop, path, data.draw(nonsense(real[path])))


async def test_half_a_character_of_stripes_is_never_a_fault_of_ours(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, subtests: pytest.Subtests
) -> None:
    monkeypatch.setattr("edge.stripe.billing.CALLS_A_MINUTE", 10_000)
    error = {"error": dict.fromkeys(("message", "code", "param", "type"), "\ud800")}
    for path, real in answers_of_stripes(shop).items():
        for body in halves(real) if "sessions" in path else ():
            with subtests.test(path, body=body):
                await hear(shop, path, body)
        for status in (400, 402, 404):
            with subtests.test(path, status=status):
                await hear(shop, path, json.dumps(error), status=status)


def answers_of_stripes(shop: Shop) -> Mapping[str, Any]:
    """A real one of each, by path."""
    subscription: dict[str, Any] = {"id": "sub_1", "object": "subscription", "customer": "cus_1"}
    price = shop.stripe.account.get("/v1/prices")["data"][0]
    items = {"object": "list", "data": [{"id": "si_1", "price": price}]}
    return {
        "/v1/prices": shop.stripe.account.get("/v1/prices"),
        "/v1/customers": {"id": "cus_1", "object": "customer", "metadata": {}},
        "/v1/subscriptions": {**subscription, "status": "active", "items": items},
        "/v1/checkout/sessions": {"id": "cs_1", "url": "https://checkout.stripe.com/1"},
        "/v1/billing_portal/sessions": {"id": "bps_1", "url": "https://billing.stripe.com/1"},
    }


async def hear(shop: Shop, path: str, body: str, **failure: Any) -> None:
    """Ask for all that Stripe is asked for, while it says this; it is no fault of ours."""
    shop.stripe.control.mend()
    shop.stripe.control.fail(path=path, body=body, times=-1, **failure)
    await shop.ledger.execute("UPDATE accounts SET stripe_customer = NULL")
    await shop.ledger.execute("DELETE FROM stripe_objects")

    async with shop.operator() as client:
        for method, what, change in (
            ("POST", "subscription", {"plan": "pro"}),
            ("PATCH", "subscription", {"plan": "basic"}),
            ("GET", "subscription", None),
            ("DELETE", "subscription?at=now", None),
        ):
            answer = await client.request(method, f"{shop.admin_path}/{what}", json=change)
            assert answer.status_code not in (500, 502), answer.text
    async with shop.customer() as client:
        for what, asked in (
            ("checkout", {"plan": "pro", **URLS}),
            ("portal", {"return_url": "https://shop.example"}),
        ):
            answer = await client.post(f"/v1/billing/{what}", json=asked)
            assert answer.status_code not in (500, 502), answer.text

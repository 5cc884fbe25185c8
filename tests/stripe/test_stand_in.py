"""The stand-in answers the real `stripe` package as Stripe would."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
import stripe

from ledger.errors import StripeKeyRefused, StripeRefused, StripeUnavailable
from ledger.stripe.api import StripeApi
from tests.stripe.app import KEY
from tests.stripe.clock import Clock
from tests.stripe.running import StandIn, standing_in

NOON = 1_795_262_400  # 2026-11-21 12:00 UTC
DAY_S = 86_400


@pytest.fixture
async def stand_in() -> AsyncIterator[StandIn]:
    async with standing_in(clock=Clock(NOON), seed=1) as running:
        yield running


@pytest.fixture
async def api(stand_in: StandIn) -> AsyncIterator[StripeApi]:
    opened = stand_in.api()
    yield opened
    await opened.close()


def a_price(stand_in: StandIn, **fields: object) -> str:
    product = stand_in.account.post("/v1/products", name="Pro")
    asked = {"unit_amount": 2_000, "recurring": {"interval": "month"}, **fields}
    price = stand_in.account.post("/v1/prices", product=product["id"], currency="eur", **asked)
    return str(price["id"])


def types(stand_in: StandIn) -> list[str]:
    return [event.type for event in stand_in.account.journal.events]


async def test_the_package_makes_finds_changes_and_deletes(stand_in: StandIn) -> None:
    client = stripe.StripeClient(KEY, base_addresses={"api": stand_in.url})

    made = await asyncio.to_thread(
        client.v1.customers.create, {"email": "ada@example.com", "metadata": {"a": "1", "b": "2"}}
    )
    changed = await asyncio.to_thread(
        client.v1.customers.update, made.id, {"name": "Ada", "metadata": {"b": "", "c": "3"}}
    )
    await asyncio.to_thread(client.v1.customers.delete, made.id)
    gone = await asyncio.to_thread(client.v1.customers.retrieve, made.id)

    assert made.email == "ada@example.com"
    assert changed.metadata
    assert changed.metadata.to_dict() == {"a": "1", "c": "3"}
    assert gone.deleted
    assert types(stand_in) == ["customer.created", "customer.updated", "customer.deleted"]
    created, updated, _ = [event.json()["data"] for event in stand_in.account.journal.events]
    assert created["object"]["name"] is None  # as it was then
    assert updated["previous_attributes"] == {"name": None, "metadata": {"b": "2", "c": None}}


async def test_lists_come_in_pages_newest_first(stand_in: StandIn, api: StripeApi) -> None:
    made = [stand_in.account.post("/v1/customers", name=str(n))["id"] for n in range(25)]

    found = [one["id"] async for one in api.pages("/v1/customers", limit=10)]
    first = await api.get("/v1/customers", limit=3)
    before = await api.get("/v1/customers", limit=3, ending_before=made[10])
    last = await api.get("/v1/customers", limit=10, starting_after=made[10])

    assert found == made[::-1]
    assert first["has_more"]
    assert [one["id"] for one in before["data"]] == made[13:10:-1]
    assert not last["has_more"]
    assert made != sorted(made)  # ids carry no order


async def test_what_it_refuses_it_refuses_in_stripes_words(api: StripeApi) -> None:
    asked = [
        (api.get("/v1/customers/cus_nobody"), 404, "resource_missing", "id"),
        (api.get("/v1/teapots"), 404, None, None),
        (api.post("/v1/customers", idempotency_key="1", tea=1), 400, "parameter_unknown", "tea"),
        (api.post("/v1/products", idempotency_key="2"), 400, "parameter_missing", "name"),
        (
            api.post("/v1/subscriptions", idempotency_key="3", customer="cus_nobody"),
            400,
            "resource_missing",
            "customer",
        ),
        (api.get("/v1/events", limit=1_000), 400, None, "limit"),
        (api.get("/v1/customers", starting_after="cus_x"), 400, "resource_missing", None),
    ]
    for asking, status, code, param in asked:
        with pytest.raises(StripeRefused) as refused:
            await asking
        assert (refused.value.status, refused.value.code) == (status, code)
        assert param in (None, refused.value.param)


async def test_an_idempotency_key_is_good_for_one_request(
    stand_in: StandIn, api: StripeApi
) -> None:
    first = await api.post("/v1/customers", idempotency_key="a", name="Ada")
    again = await api.post("/v1/customers", idempotency_key="a", name="Ada")
    with pytest.raises(StripeRefused, match="can only be used with the same parameters"):
        await api.post("/v1/customers", idempotency_key="a", name="Charles")
    stand_in.control.advance(2 * DAY_S)
    later = await api.post("/v1/customers", idempotency_key="a", name="Charles")

    assert first == again
    assert later["id"] != first["id"]
    (created, _) = stand_in.account.journal.events
    assert created.json()["request"]["idempotency_key"] == "a"


async def test_a_lookup_key_is_one_prices(stand_in: StandIn, api: StripeApi) -> None:
    old = a_price(stand_in, lookup_key="pro")
    with pytest.raises(Exception, match="already uses that lookup key"):
        a_price(stand_in, lookup_key="pro")
    new = a_price(stand_in, lookup_key="pro", transfer_lookup_key=True)

    found = await api.get("/v1/prices", lookup_keys=["pro", "free"])

    assert [one["id"] for one in found["data"]] == [new]
    assert (await api.get(f"/v1/prices/{old}"))["lookup_key"] is None


async def test_a_subscription_lives_through_a_failed_renewal(
    stand_in: StandIn, api: StripeApi
) -> None:
    customer = (await api.post("/v1/customers", idempotency_key="c"))["id"]
    items = [{"price": a_price(stand_in), "quantity": 3}]
    made = await api.post("/v1/subscriptions", idempotency_key="s", customer=customer, items=items)
    path = f"/v1/subscriptions/{made['id']}"
    stand_in.control.advance(31 * DAY_S)
    renewed = await api.get(path, expand=["latest_invoice"])
    stand_in.control.decline(customer)
    stand_in.control.advance(31 * DAY_S)
    overdue = await api.get(path)
    stand_in.control.accept(customer)
    paid = await api.get(path)
    await api.post(path, idempotency_key="u", cancel_at_period_end=True)
    stand_in.control.advance(31 * DAY_S)
    ended = await api.get(path)

    statuses = [one["status"] for one in (made, renewed, overdue, paid, ended)]
    assert statuses == ["active", "active", "past_due", "active", "canceled"]
    assert renewed["latest_invoice"]["amount_paid"] == 6_000
    assert renewed["latest_invoice"]["billing_reason"] == "subscription_cycle"
    assert ended["ended_at"] == paid["items"]["data"][0]["current_period_end"]
    assert [type_ for type_ in types(stand_in) if type_.startswith("customer.sub")] == [
        "customer.subscription.created",
        *["customer.subscription.updated"] * 9,
        "customer.subscription.deleted",
    ]
    snapshot = next(
        event.json()["data"]["object"]
        for event in stand_in.account.journal.events
        if event.type == "customer.subscription.created"
    )
    assert snapshot["status"] == "incomplete"  # and active in the same second


@pytest.mark.parametrize("dunning", ["canceled", "unpaid"])
async def test_who_never_pays_ends_as_the_account_has_it(stand_in: StandIn, dunning: str) -> None:
    account = stand_in.account
    account.dunning = dunning
    customer = account.post("/v1/customers")["id"]
    items = [{"price": a_price(stand_in, recurring={"interval": "year"})}]
    made = account.post("/v1/subscriptions", customer=customer, items=items)
    stand_in.control.decline(customer)
    stand_in.control.advance(400 * DAY_S)

    assert account.get(f"/v1/subscriptions/{made['id']}")["status"] == dunning


async def test_a_first_payment_that_fails_expires(stand_in: StandIn) -> None:
    account = stand_in.account
    customer = account.post("/v1/customers")["id"]
    stand_in.control.decline(customer)
    asked = {"customer": customer, "items": [{"price": a_price(stand_in)}]}
    made = account.post("/v1/subscriptions", **asked)
    with pytest.raises(Exception, match="declined"):
        account.post("/v1/subscriptions", payment_behavior="error_if_incomplete", **asked)
    stand_in.control.advance(DAY_S)

    assert made["status"] == "incomplete"
    assert account.get(f"/v1/subscriptions/{made['id']}")["status"] == "incomplete_expired"


@pytest.mark.parametrize(
    ("behaviour", "status"), [("create_invoice", "past_due"), ("pause", "paused")]
)
async def test_a_trial_ends_as_it_was_agreed(
    stand_in: StandIn, behaviour: str, status: str
) -> None:
    account = stand_in.account
    customer = account.post("/v1/customers")["id"]
    account.without_payment_method.add(customer)
    made = account.post(
        "/v1/subscriptions",
        customer=customer,
        items=[{"price": a_price(stand_in)}],
        trial_period_days=14,
        trial_settings={"end_behavior": {"missing_payment_method": behaviour}},
    )
    stand_in.control.advance(14 * DAY_S)
    path = f"/v1/subscriptions/{made['id']}"

    assert made["status"] == "trialing"
    assert account.get(path)["status"] == status
    if status == "paused":
        account.without_payment_method.clear()
        assert account.post(f"{path}/resume")["status"] == "active"


async def test_items_are_changed_added_and_taken_away(stand_in: StandIn) -> None:
    account = stand_in.account
    customer = account.post("/v1/customers")["id"]
    basic, pro, extra = a_price(stand_in), a_price(stand_in), a_price(stand_in)
    made = account.post("/v1/subscriptions", customer=customer, items=[{"price": basic}])
    path = f"/v1/subscriptions/{made['id']}"
    item = made["items"]["data"][0]["id"]

    account.post(path, items=[{"id": item, "price": pro}, {"price": extra, "quantity": 2}])
    changed = account.post(path, items=[{"id": item, "deleted": True}])

    assert [one["price"]["id"] for one in changed["items"]["data"]] == [extra]
    last = stand_in.account.journal.events[-1].json()
    assert [one["price"]["id"] for one in last["data"]["previous_attributes"]["items"]["data"]] == [
        pro,
        extra,
    ]


async def test_a_meter_adds_up_and_is_billed(stand_in: StandIn, api: StripeApi) -> None:
    account = stand_in.account
    customer = account.post("/v1/customers")["id"]
    meter = account.post(
        "/v1/billing/meters",
        display_name="Tokens",
        event_name="tokens",
        default_aggregation={"formula": "sum"},
    )
    price = a_price(
        stand_in,
        unit_amount=None,
        unit_amount_decimal="0.05",
        recurring={"interval": "month", "usage_type": "metered", "meter": meter["id"]},
    )
    account.post("/v1/subscriptions", customer=customer, items=[{"price": price}])

    async def report(identifier: str, value: object, timestamp: int = NOON) -> None:
        await api.post(
            "/v1/billing/meter_events",
            idempotency_key=f"{identifier} {value} {timestamp}",
            event_name="tokens",
            identifier=identifier,
            timestamp=timestamp,
            payload={"stripe_customer_id": customer, "value": value},
        )

    await report("a", 1_000)
    await report("b", 234, NOON + 60)
    for asked, said in {
        ("a", 1_001, NOON): "An event already exists with identifier a.",
        ("c", "1.5", NOON): "must be a whole number",
        ("c", "lots", NOON): "must be a whole number",
        ("c", 1, NOON - 36 * DAY_S): "within the past 35 calendar days",
        ("c", 1, NOON + 600): "5 minutes in the future",
    }.items():
        with pytest.raises(StripeRefused, match=said):
            await report(*asked)
    summary = await api.get(
        f"/v1/billing/meters/{meter['id']}/event_summaries",
        customer=customer,
        start_time=NOON - DAY_S,
        end_time=NOON + 120,
    )
    hourly = await api.get(
        f"/v1/billing/meters/{meter['id']}/event_summaries",
        customer=customer,
        start_time=NOON,
        end_time=NOON + 7_200,
        value_grouping_window="hour",
    )
    stand_in.control.advance(31 * DAY_S)
    invoice = (await api.get("/v1/invoices", customer=customer))["data"][0]

    assert [one["aggregated_value"] for one in summary["data"]] == [1_234]
    assert [one["aggregated_value"] for one in hourly["data"]] == [1_234]
    assert (invoice["lines"]["data"][0]["quantity"], invoice["total"]) == (1_234, 62)


async def test_a_checkout_is_completed_by_its_customer(stand_in: StandIn, api: StripeApi) -> None:
    session = await api.post(
        "/v1/checkout/sessions",
        idempotency_key="s",
        mode="subscription",
        client_reference_id="account-1",
        line_items=[{"price": a_price(stand_in), "quantity": 1}],
        subscription_data={"metadata": {"a": "b"}},
        success_url="https://example.com",
    )
    done = stand_in.control.complete(session["id"], email="ada@example.com")
    portal = await api.post(
        "/v1/billing_portal/sessions", idempotency_key="p", customer=done["customer"]
    )

    subscription = await api.get(f"/v1/subscriptions/{done['subscription']}")
    assert session["url"].startswith("https://checkout.stripe.com/")
    assert portal["url"].startswith("https://billing.stripe.com/")
    assert (subscription["status"], subscription["metadata"]) == ("active", {"a": "b"})
    assert types(stand_in)[-1] == "checkout.session.completed"
    with pytest.raises(Exception, match="complete"):
        stand_in.control.complete(session["id"])


async def test_more_than_ten_entitlements_are_on_pages(stand_in: StandIn, api: StripeApi) -> None:
    account = stand_in.account
    price = account.get(f"/v1/prices/{a_price(stand_in)}")
    for number in range(12):
        feature = account.post(
            "/v1/entitlements/features", name=f"{number}", lookup_key=f"feature-{number}"
        )
        account.post(f"/v1/products/{price['product']}/features", entitlement_feature=feature["id"])
    customer = account.post("/v1/customers")["id"]
    made = account.post("/v1/subscriptions", customer=customer, items=[{"price": price["id"]}])
    summary = next(
        event.json()["data"]["object"]
        for event in account.journal.events
        if event.type == "entitlements.active_entitlement_summary.updated"
    )
    path = "/v1/entitlements/active_entitlements"
    entitled = [one["lookup_key"] async for one in api.pages(path, customer=customer, limit=5)]
    account.delete(f"/v1/subscriptions/{made['id']}")

    assert len(summary["entitlements"]["data"]) == 10
    assert summary["entitlements"]["has_more"]
    assert sorted(entitled) == sorted(f"feature-{number}" for number in range(12))
    assert account.get(path, customer=customer)["data"] == []


async def test_events_are_listed_for_thirty_days(stand_in: StandIn, api: StripeApi) -> None:
    account = stand_in.account
    old = account.post("/v1/customers")
    stand_in.control.advance(20 * DAY_S)
    new = account.post("/v1/customers")
    a_price(stand_in)

    async def about(**params: object) -> list[str]:
        return [event["data"]["object"]["id"] async for event in api.pages("/v1/events", **params)]

    assert await about(types=["customer.created"]) == [new["id"], old["id"]]
    assert await about(type="customer.*", created={"gte": NOON + 1}) == [new["id"]]
    stand_in.control.advance(11 * DAY_S)
    assert await about(type="customer.created") == [new["id"]]


@pytest.mark.parametrize(
    ("failure", "error"),
    [
        ({"status": 429, "retry_after": "0"}, None),
        ({"status": 500, "times": 2}, None),
        ({"status": 500, "times": 3}, StripeUnavailable),
        ({"cut": True, "times": 3}, StripeUnavailable),
        ({"body": "<html>"}, StripeUnavailable),
        ({"status": 401}, StripeKeyRefused),
        ({"status": 403}, StripeKeyRefused),
        ({"delay_s": 0.1}, None),
    ],
)
async def test_it_fails_on_demand_and_then_works(
    stand_in: StandIn, api: StripeApi, failure: dict[str, object], error: type[Exception] | None
) -> None:
    stand_in.control.fail(path="/v1/customers", **failure)

    if error:
        with pytest.raises(error):
            await api.get("/v1/customers")
    assert (await api.get("/v1/customers"))["data"] == []


async def test_an_answer_may_be_lost_after_the_deed(stand_in: StandIn, api: StripeApi) -> None:
    stand_in.control.fail(after=True, cut=True, method="POST")

    made = await api.post("/v1/customers", idempotency_key="a", name="Ada")

    assert stand_in.requests("POST", "/v1/customers") == 2
    assert [one["id"] for one in (await api.get("/v1/customers"))["data"]] == [made["id"]]


async def test_a_revoked_key_is_refused(stand_in: StandIn, api: StripeApi) -> None:
    stand_in.control.revoke(KEY)
    with pytest.raises(StripeKeyRefused):
        await api.get("/v1/customers")
    stand_in.control.mend()

    assert await api.get("/v1/customers")


async def test_the_package_pins_the_version_that_events_have(stand_in: StandIn) -> None:
    stand_in.account.post("/v1/customers")
    event = stand_in.account.journal.events[0]

    assert event.json()["api_version"] == stripe.api_version
    assert json.loads(event.body) == stand_in.account.get(f"/v1/events/{event.id}")

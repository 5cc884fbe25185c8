"""Subscriptions: their items, and the status that payments and time give them."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

from tests.stripe import entitlements
from tests.stripe.account import Account
from tests.stripe.errors import Refused, missing
from tests.stripe.form import Params
from tests.stripe.invoices import attempt, bill, declined, subscription_of
from tests.stripe.lists import PAGE, having, listed, page, within
from tests.stripe.params import boolean, integer, many, mapping, metadata, one_of, required, text
from tests.stripe.periods import next_end
from tests.stripe.routes import Json, route

OPEN = frozenset({"incomplete", "trialing", "active", "past_due", "unpaid", "paused"})
DAY_S = 86_400


@route(
    "POST",
    "/v1/subscriptions",
    "customer",
    "items",
    "metadata",
    "description",
    "trial_period_days",
    "trial_end",
    "trial_settings",
    "billing_cycle_anchor",
    "payment_behavior",
    "payment_settings",
    "proration_behavior",
    "collection_method",
    "days_until_due",
    "cancel_at_period_end",
    "off_session",
)
def create(account: Account, params: Params) -> Json:
    customer = account.find("customer", required(params, "customer"), param="customer")
    behaviour = one_of(
        params,
        "payment_behavior",
        ("allow_incomplete", "default_incomplete", "error_if_incomplete", "pending_if_incomplete"),
        "allow_incomplete",
    )
    now = account.clock.now()
    trial_end = _trial_end(params, now)
    id_ = account.mint("sub")
    wanted = many(params, "items")
    if not wanted:
        raise missing("items")
    anchor = integer(params, "billing_cycle_anchor")
    if anchor is not None and (anchor <= now or params.get("proration_behavior") != "none"):
        raise Refused("The stand-in bills nothing until an anchor.", param="billing_cycle_anchor")
    free = trial_end or anchor
    items = [_item(account, id_, one, now, free) for one in wanted]
    if len({item["price"]["currency"] for item in items}) > 1:
        raise Refused("You cannot combine currencies on a single subscription.", param="items")
    fails = customer["id"] in account.declined | account.without_payment_method
    if behaviour == "error_if_incomplete" and fails and free is None:
        raise declined()
    sends = text(params, "collection_method") == "send_invoice"
    made = _subscription(account, params, id_, items, trial_end)
    made["billing_cycle_anchor"] = free or now
    made["status"] = "trialing" if trial_end else "active" if sends else "incomplete"
    account.add("subscription", made)
    account.emit("customer.subscription.created", made)
    entitlements.follow(account, customer["id"])
    invoice = bill(account, made, "subscription_create", charged=free is None)
    with changing(account, made):
        made["latest_invoice"] = invoice["id"]
    if not sends and (behaviour != "default_incomplete" or invoice["amount_due"] == 0):
        attempt(account, invoice)
        settle(account, invoice)
    return made


@route("GET", "/v1/subscriptions", *PAGE, "customer", "price", "status", "created")
def list_all(account: Account, params: Params) -> Json:
    """Without a status: all but those that are canceled, as Stripe has it."""
    found = within(account.newest("subscription"), params)
    status = params.get("status")
    if status == "ended":
        found = (one for one in found if one["status"] in ("canceled", "incomplete_expired"))
    elif status is None:
        found = (one for one in found if one["status"] != "canceled")
    elif status != "all":
        found = (one for one in found if one["status"] == status)
    found = having(found, params, "customer")
    if "price" in params:
        found = [
            one
            for one in found
            if any(item["price"]["id"] == params["price"] for item in one["items"]["data"])
        ]
    return page(found, params, "/v1/subscriptions")


@route("GET", "/v1/subscriptions/{id_}")
def retrieve(account: Account, params: Params, id_: str) -> Json:
    return account.find("subscription", id_)


@route(
    "POST",
    "/v1/subscriptions/{id_}",
    "items",
    "metadata",
    "description",
    "cancel_at_period_end",
    "cancel_at",
    "trial_end",
    "pause_collection",
    "payment_behavior",
    "proration_behavior",
    "off_session",
)
def update(account: Account, params: Params, id_: str) -> Json:
    found = account.find("subscription", id_)
    if found["status"] in ("canceled", "incomplete_expired"):
        raise Refused(
            "A canceled subscription can only update its cancellation_details and metadata."
        )
    now = account.clock.now()
    changed = copy.deepcopy(found)
    if "items" in params:
        changed["items"] = _items(account, changed, many(params, "items"), now)
    if "metadata" in params:
        changed["metadata"] = metadata(params, found["metadata"])
    if "description" in params:
        changed["description"] = text(params, "description")
    if "pause_collection" in params:
        paused = mapping(params, "pause_collection")
        changed["pause_collection"] = {"resumes_at": None, **paused} if paused else None
    if "cancel_at" in params:
        changed["cancel_at"] = integer(params, "cancel_at")
        changed["canceled_at"] = now if changed["cancel_at"] else None
    if "cancel_at_period_end" in params:
        at_end = boolean(params, "cancel_at_period_end")
        changed["cancel_at_period_end"] = at_end
        changed["cancel_at"] = _period_end(changed) if at_end else None
        changed["canceled_at"] = now if at_end else None
        changed["cancellation_details"]["reason"] = "cancellation_requested" if at_end else None
    with changing(account, found):
        found.update(changed)
    if "trial_end" in params and found["status"] == "trialing":
        found["trial_end"] = _trial_end(params, now) or now
        if found["trial_end"] <= now:
            end_trial(account, found)
    return found


@route("DELETE", "/v1/subscriptions/{id_}", "invoice_now", "prorate", "cancellation_details")
def cancel(account: Account, params: Params, id_: str) -> Json:
    found = account.find("subscription", id_)
    if found["status"] not in OPEN:
        raise Refused(f"No such subscription: '{id_}'", status=404, code="resource_missing")
    items = found["items"]["data"]
    metered = any(item["price"]["recurring"]["usage_type"] == "metered" for item in items)
    if boolean(params, "invoice_now") and metered:  # else nobody is ever billed for it
        used_within = items[0]["current_period_start"], account.clock.now()
        attempt(account, bill(account, found, "subscription_cycle", used_within, charged=False))
    end(account, found, reason="cancellation_requested")
    return found


@route("POST", "/v1/subscriptions/{id_}/resume", "billing_cycle_anchor", "proration_behavior")
def resume(account: Account, params: Params, id_: str) -> Json:
    found = account.find("subscription", id_)
    if found["status"] != "paused":
        raise Refused("You can only resume a paused subscription.")
    _begin_period(found, account.clock.now())
    invoice = bill(account, found, "subscription_cycle")
    with changing(account, found, "customer.subscription.resumed"):
        found["latest_invoice"] = invoice["id"]
        found["status"] = "active"
    attempt(account, invoice)
    settle(account, invoice)
    return found


@contextmanager
def changing(
    account: Account, subscription: Json, type_: str = "customer.subscription.updated"
) -> Iterator[None]:
    """Change it, and what its customer is entitled to."""
    with account.changing(subscription, type_):
        yield
    entitlements.follow(account, subscription["customer"])


def settle(account: Account, invoice: Json) -> None:
    """Give a subscription the status that the attempt to collect an invoice leaves it in."""
    found = account.find("subscription", subscription_of(invoice))
    if found["status"] not in OPEN:
        return
    if invoice["status"] == "paid":
        if found["status"] in ("incomplete", "past_due", "unpaid"):
            with changing(account, found):
                found["status"] = "active"
    elif invoice["billing_reason"] != "subscription_create":
        last = invoice["next_payment_attempt"] is None
        if last and account.dunning == "canceled":
            end(account, found, reason="payment_failed")
        else:
            with changing(account, found):
                found["status"] = account.dunning if last else "past_due"


def end(account: Account, subscription: Json, *, reason: str | None = None) -> None:
    """Cancel it for good."""
    now = account.clock.now()
    subscription.update(status="canceled", ended_at=now)
    subscription["canceled_at"] = subscription["canceled_at"] or now
    subscription["cancellation_details"]["reason"] = reason
    account.emit("customer.subscription.deleted", subscription)
    entitlements.follow(account, subscription["customer"])


def end_trial(account: Account, subscription: Json) -> None:
    """Bill it, or do what it says about customers who cannot pay."""
    behaviour = subscription["trial_settings"]["end_behavior"]["missing_payment_method"]
    cannot_pay = subscription["customer"] in account.without_payment_method
    if cannot_pay and behaviour == "cancel":
        end(account, subscription)
        return
    if cannot_pay and behaviour == "pause":
        with changing(account, subscription):
            subscription["status"] = "paused"
        account.emit("customer.subscription.paused", subscription)
        return
    renew(account, subscription, metered=False)


def renew(account: Account, subscription: Json, *, metered: bool = True) -> None:
    """Begin the next period, bill it and what was used in the last one."""
    items = subscription["items"]["data"]
    ended = items[0]["current_period_start"], items[0]["current_period_end"]
    with changing(account, subscription):
        subscription["status"] = "active" if not metered else subscription["status"]
        _begin_period(subscription, account.clock.now())
    invoice = bill(account, subscription, "subscription_cycle", ended if metered else None)
    with changing(account, subscription):
        subscription["latest_invoice"] = invoice["id"]
    if subscription["status"] != "unpaid" and subscription["collection_method"] != "send_invoice":
        attempt(account, invoice)
        settle(account, invoice)


def expire(account: Account, subscription: Json) -> None:
    """Give up on a first payment that never came."""
    with changing(account, subscription):
        subscription.update(status="incomplete_expired", ended_at=account.clock.now())


def _begin_period(subscription: Json, now: int) -> None:
    if subscription["status"] == "paused" or subscription["trial_end"] == now:
        subscription["billing_cycle_anchor"] = now
    for item in subscription["items"]["data"]:
        item["current_period_start"] = now
        item["current_period_end"] = next_end(
            subscription["billing_cycle_anchor"], now, item["price"]["recurring"]
        )


def _period_end(subscription: Json) -> int:
    return min(int(item["current_period_end"]) for item in subscription["items"]["data"])


def _trial_end(params: Params, now: int) -> int | None:
    if params.get("trial_end") == "now":
        return None
    if (days := integer(params, "trial_period_days")) is not None:
        return now + days * DAY_S if days else None
    return integer(params, "trial_end")


def _item(
    account: Account, subscription: str, wanted: Params, now: int, trial_end: int | None = None
) -> Json:
    price = account.find("price", required(wanted, "price"), param="items[0][price]")
    recurring = price["recurring"]
    if recurring is None:
        raise Refused("The price specified is set to `type=one_time`.", param="items[0][price]")
    metered = recurring["usage_type"] == "metered"
    item: Json = {
        "id": account.mint("si"),
        "object": "subscription_item",
        "billing_thresholds": None,
        "created": now,
        "current_period_end": trial_end or next_end(now, now, recurring),
        "current_period_start": now,
        "discounts": [],
        "metadata": metadata(wanted),
        "price": copy.deepcopy(price),
        "quantity": integer(wanted, "quantity", 1),
        "subscription": subscription,
        "tax_rates": [],
    }
    if metered:
        del item["quantity"]
    return item


def _items(account: Account, subscription: Json, wanted: list[Params], now: int) -> Json:
    """The items after changes: by id, or new ones."""
    items = {item["id"]: item for item in subscription["items"]["data"]}
    for change in wanted:
        known = items.get(change.get("id", ""))
        if "id" in change and known is None:
            raise Refused(f"No such subscription item: '{change['id']}'", code="resource_missing")
        if known is None:
            item = _item(account, subscription["id"], change, now)
            items[item["id"]] = item
        elif boolean(change, "deleted"):
            del items[known["id"]]
        else:
            if "price" in change:
                price = account.find("price", change["price"], param="items[0][price]")
                known["price"] = copy.deepcopy(price)
            if "quantity" in change:
                known["quantity"] = integer(change, "quantity")
            known["metadata"] = metadata(change, known["metadata"])
    if not items:
        raise Refused("A subscription must have at least one active plan.", param="items")
    return {**subscription["items"], "data": list(items.values()), "total_count": len(items)}


def _subscription(
    account: Account, params: Params, id_: str, items: list[Json], trial_end: int | None
) -> Json:
    now = account.clock.now()
    behaviour = mapping(mapping(params, "trial_settings"), "end_behavior")
    at_end = boolean(params, "cancel_at_period_end")
    return {
        "id": id_,
        "object": "subscription",
        "application": None,
        "automatic_tax": {"disabled_reason": None, "enabled": False, "liability": None},
        "billing_cycle_anchor": trial_end or now,
        "cancel_at": min(item["current_period_end"] for item in items) if at_end else None,
        "cancel_at_period_end": at_end,
        "canceled_at": now if at_end else None,
        "cancellation_details": {"comment": None, "feedback": None, "reason": None},
        "collection_method": text(params, "collection_method", "charge_automatically"),
        "created": now,
        "currency": items[0]["price"]["currency"],
        "customer": params["customer"],
        "days_until_due": integer(params, "days_until_due"),
        "default_payment_method": None,
        "description": text(params, "description"),
        "discounts": [],
        "ended_at": None,
        "items": {
            **listed(items, f"/v1/subscription_items?subscription={id_}"),
            "total_count": len(items),
        },
        "latest_invoice": None,
        "livemode": False,
        "metadata": metadata(params),
        "pause_collection": None,
        "pending_setup_intent": None,
        "pending_update": None,
        "schedule": None,
        "start_date": now,
        "status": "incomplete",
        "test_clock": None,
        "trial_end": trial_end,
        "trial_settings": {
            "end_behavior": {
                "missing_payment_method": text(
                    behaviour, "missing_payment_method", "create_invoice"
                )
            }
        },
        "trial_start": now if trial_end else None,
    }

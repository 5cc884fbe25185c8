"""Subscriptions as callers see them and ask for them."""

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import zip_longest
from typing import Any, Literal

from msgspec import Struct

from edge.prices import is_metered
from events.plans import Plans
from ledger.stripe.api import Json


class NewSubscription(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """To which plan."""

    plan: str
    price: str | None = None  # a lookup key of the plan's; the first one, if not told


class SubscriptionChanges(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is not named stays as it is."""

    plan: str | None = None
    price: str | None = None  # a lookup key of the plan's; the first one, if not told
    #: What of the period that has begun: charged with the next invoice, not at all, or now.
    proration: Literal["create_prorations", "none", "always_invoice"] = "create_prorations"
    cancel_at_period_end: bool | None = None  # false takes a cancellation back


class OwnChanges(SubscriptionChanges, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Those that a customer may ask for: nobody has more of a period than is paid for it."""

    proration: Literal["create_prorations", "always_invoice"] = "create_prorations"


class Subscription(Struct, frozen=True, kw_only=True):
    """What of a subscription matters here."""

    id: str
    status: str  # Stripe's
    plan: str | None  # that its prices stand for
    price: str | None  # the lookup key
    current_period_end: datetime | None
    cancel_at_period_end: bool
    cancel_at: datetime | None
    canceled_at: datetime | None
    trial_end: datetime | None


def describe(subscription: Json, plans: Plans) -> Subscription:
    """A subscription of Stripe's, in short."""
    item = plan_item(subscription, plans)
    key = None if item is None else item["price"].get("lookup_key")
    # since Stripe's version 2025-03-31 the periods are the items'
    end = subscription.get("current_period_end") or (item or {}).get("current_period_end")
    return Subscription(
        id=subscription["id"],
        status=subscription["status"],
        plan=plan_of(key, plans),
        price=key,
        current_period_end=_time(end),
        cancel_at_period_end=bool(subscription.get("cancel_at_period_end")),
        cancel_at=_time(subscription.get("cancel_at")),
        canceled_at=_time(subscription.get("canceled_at")),
        trial_end=_time(subscription.get("trial_end")),
    )


def plan_item(subscription: Json, plans: Plans) -> Json | None:
    """The item that stands for a plan; else the only one there is."""
    items: list[Json] = subscription["items"]["data"]
    for item in items:
        if plan_of(item["price"].get("lookup_key"), plans) is not None:
            return item
    return items[0] if len(items) == 1 else None


def changed_items(subscription: Json, prices: Sequence[Json], plans: Plans) -> Sequence[Json]:
    """What to tell Stripe so that a subscription's plan has these prices, and no others.

    Items that stand for no plan stay, unless there is nothing else.
    """
    items: list[Json] = subscription["items"]["data"]
    theirs = [item for item in items if plan_of(item["price"].get("lookup_key"), plans)]
    if not theirs and len(items) == 1:
        theirs = items
    wanted = {price["id"] for price in prices}
    had = {item["price"]["id"] for item in items}
    changes: list[Json] = []
    for metered in (False, True):  # one that goes makes room for one of its kind that comes
        gone = [
            item
            for item in theirs
            if item["price"]["id"] not in wanted and is_metered(item["price"]) == metered
        ]
        new = [one for one in prices if one["id"] not in had and is_metered(one) == metered]
        for item, price in zip_longest(gone, new):
            change = {} if item is None else {"id": item["id"]}
            changes.append(
                change | ({"deleted": True} if price is None else {"price": price["id"]})
            )
    return changes


def plan_of(lookup_key: str | None, plans: Plans) -> str | None:
    """The plan that a price stands for."""
    return next((plan.name for plan in plans.values() if lookup_key in plan.lookup_keys), None)


def _time(seconds: Any) -> datetime | None:  # noqa: ANN401 - JSON
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)

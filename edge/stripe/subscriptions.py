"""Subscriptions as callers see them and ask for them."""

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import zip_longest
from typing import Literal

from msgspec import Struct

from edge.prices import Price
from events.plans import Plans
from ledger.stripe.api import Json, read
from ledger.stripe.standing import Seconds


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


class _Item(Struct, frozen=True, kw_only=True):
    id: str
    price: Price
    current_period_end: Seconds | None = None


class _Items(Struct, frozen=True):
    data: tuple[_Item, ...]


class Subscribed(Struct, frozen=True, kw_only=True):
    """A subscription of Stripe's, as far as callers see or change it. Times are Unix seconds."""

    id: str
    status: str
    items: _Items
    current_period_end: Seconds | None = None  # Stripe's versions before 2025-03-31
    cancel_at_period_end: bool | None = None
    cancel_at: Seconds | None = None
    canceled_at: Seconds | None = None
    trial_end: Seconds | None = None

    def item(self, plans: Plans) -> _Item | None:
        """The item that stands for a plan; else the only one there is."""
        for item in self.items.data:
            if plan_of(item.price.lookup_key, plans) is not None:
                return item
        return self.items.data[0] if len(self.items.data) == 1 else None


def describe(subscription: Json, plans: Plans) -> Subscription:
    """A subscription of Stripe's, in short.

    Raises:
        UnreadableObject: it has another form.
    """
    found = read(subscription, Subscribed)
    item = found.item(plans)
    key = None if item is None else item.price.lookup_key
    return Subscription(
        id=found.id,
        status=found.status,
        plan=plan_of(key, plans),
        price=key,
        current_period_end=_time(
            found.current_period_end or (item and item.current_period_end) or None
        ),
        cancel_at_period_end=bool(found.cancel_at_period_end),
        cancel_at=_time(found.cancel_at),
        canceled_at=_time(found.canceled_at),
        trial_end=_time(found.trial_end),
    )


def changed_items(subscription: Json, prices: Sequence[Price], plans: Plans) -> Sequence[Json]:
    """What to tell Stripe so that a subscription's plan has these prices, and no others.

    Items that stand for no plan stay, unless there is nothing else.

    Raises:
        UnreadableObject: the subscription has another form.
    """
    items = read(subscription, Subscribed).items.data
    theirs = [item for item in items if plan_of(item.price.lookup_key, plans)]
    if not theirs and len(items) == 1:
        theirs = [*items]
    wanted = {price.id for price in prices}
    had = {item.price.id for item in items}
    changes: list[Json] = []
    for metered in (False, True):  # one that goes makes room for one of its kind that comes
        gone = [
            item
            for item in theirs
            if item.price.id not in wanted and item.price.is_metered == metered
        ]
        new = [one for one in prices if one.id not in had and one.is_metered == metered]
        for item, price in zip_longest(gone, new):
            change = {} if item is None else {"id": item.id}
            changes.append(change | ({"deleted": True} if price is None else {"price": price.id}))
    return changes


def plan_of(lookup_key: str | None, plans: Plans) -> str | None:
    """The plan that a price stands for."""
    return next((plan.name for plan in plans.values() if lookup_key in plan.lookup_keys), None)


def _time(seconds: int | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)

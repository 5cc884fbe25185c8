"""What a subscription gives, by its status: the one table, and what time does to it."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import Enum, auto
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from events.plans import Plan, Plans
from ledger.errors import UnreadableObject


class Gives(Enum):
    """What a status is worth."""

    PLAN = auto()
    GRACE = auto()  # the plan, for the plan's `grace_days`
    NOTHING = auto()


#: Source: Stripe's documentation of the subscription object, `status`.
STATUSES: Final[Mapping[str, Gives]] = {
    "trialing": Gives.PLAN,
    "active": Gives.PLAN,  # also while `pause_collection` is set: Stripe means that as a gift
    "past_due": Gives.GRACE,  # a payment failed, and is tried again
    "unpaid": Gives.NOTHING,  # Stripe has given up on it
    "incomplete": Gives.NOTHING,  # the first payment is not made yet
    "incomplete_expired": Gives.NOTHING,  # and never was
    "paused": Gives.NOTHING,  # a trial ended without a way to pay
    "canceled": Gives.NOTHING,
}


Seconds = Annotated[int, Meta(ge=0, le=2**37)]  # since 1970, and a year that datetime has


class _Price(Struct, frozen=True):
    lookup_key: str | None = None


class _Item(Struct, frozen=True):
    price: _Price | None = None
    current_period_start: Seconds | None = None
    current_period_end: Seconds | None = None


class _Items(Struct, frozen=True):
    data: tuple[_Item, ...] = ()


class Subscription(Struct, frozen=True, kw_only=True):
    """The fields of a subscription that decide on plans. Times are Unix seconds."""

    id: str
    status: str
    items: _Items = _Items()
    cancel_at: Seconds | None = None
    cancel_at_period_end: bool | None = None
    current_period_start: Seconds | None = None  # API versions before 2025-03-31; then the items'
    current_period_end: Seconds | None = None

    @property
    def lookup_keys(self) -> Sequence[str]:
        """Of the prices that are subscribed to."""
        prices = [item.price for item in self.items.data]
        return [price.lookup_key for price in prices if price and price.lookup_key]

    @property
    def period_started(self) -> datetime | None:
        """When the running period began, which is when its payment was due."""
        starts = [self.current_period_start, *[one.current_period_start for one in self.items.data]]
        return max(map(_time, filter(None, starts)), default=None)

    @property
    def ends(self) -> datetime | None:
        """When it will be, or was, canceled; as far as that is said already."""
        times = [self.cancel_at]
        if self.cancel_at_period_end:
            times += [self.current_period_end]
            times += [item.current_period_end for item in self.items.data]
        return min(map(_time, filter(None, times)), default=None)


class _Entitlement(Struct, frozen=True):
    lookup_key: str


class _Entitlements(Struct, frozen=True):
    data: tuple[_Entitlement, ...]
    has_more: bool = False


class _Summary(Struct, frozen=True):
    entitlements: _Entitlements


class Features(Struct, frozen=True):
    """What a summary says that a customer has."""

    lookup_keys: Sequence[str]
    are_all: bool  # events name ten at most


class Held(Struct, frozen=True, order=True):
    """A plan that is had; the greater one counts."""

    rank: int  # its place in the plans file: what is further down is more
    until: datetime  # when it ends, if nothing happens; for ever: the end of time
    plan: str


FOR_EVER: Final = datetime.max.replace(tzinfo=UTC)
LONG_AGO: Final = datetime.min.replace(tzinfo=UTC)

_subscription: Final = msgspec.json.Decoder(Subscription)
_summary: Final = msgspec.json.Decoder(_Summary)


def read_subscription(subscription: str) -> Subscription:
    """Read a subscription as Stripe sent it.

    Raises:
        UnreadableObject: it has another form, or a status that we do not know.
    """
    try:
        found = _subscription.decode(subscription)
    except msgspec.DecodeError as error:
        raise UnreadableObject(str(error)) from error
    if found.status not in STATUSES:
        raise UnreadableObject(f"{found.id} has the status {found.status!r}")
    return found


def read_summary(summary: str) -> Features:
    """Read a summary of entitlements, as an event had it or as Stripe was asked for it.

    Raises:
        UnreadableObject: it has another form.
    """
    try:
        listed = _summary.decode(summary).entitlements
    except msgspec.DecodeError as error:
        raise UnreadableObject(str(error)) from error
    keys = [entitlement.lookup_key for entitlement in listed.data]
    return Features(keys, are_all=not listed.has_more)


def held_by(
    subscription: Subscription, plans: Plans, *, past_due_since: datetime | None, now: datetime
) -> Iterator[Held]:
    """The plans that a subscription gives now.

    Args:
        subscription: Not deleted.
        plans: In the order of their file.
        past_due_since: When its payment failed, if it is past due.
        now: In UTC.
    """
    gives = STATUSES[subscription.status]
    if gives is Gives.NOTHING:
        return
    ends = subscription.ends or FOR_EVER
    for held in had_by(subscription.lookup_keys, plans):
        until = ends
        if gives is Gives.GRACE:
            since = past_due_since or subscription.period_started or LONG_AGO
            until = min(ends, since + timedelta(days=plans[held.plan].grace_days))
        if now < until:
            yield Held(held.rank, until, held.plan)


def had_by(lookup_keys: Sequence[str], plans: Plans) -> Iterator[Held]:
    """The plans that have one of these lookup keys, for ever."""
    for rank, plan in enumerate(plans.values()):
        if _has(plan, lookup_keys):
            yield Held(rank, FOR_EVER, plan.name)


def had_still(plan: str | None, plans: Plans) -> Iterator[Held]:
    """The plan that was had, while not all is known that may give it."""
    yield from (Held(rank, FOR_EVER, name) for rank, name in enumerate(plans) if name == plan)


def _has(plan: Plan, lookup_keys: Sequence[str]) -> bool:
    return any(key in plan.lookup_keys for key in lookup_keys)


def _time(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)

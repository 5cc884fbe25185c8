"""What Stripe says, as the journal takes it in."""

import json
from collections.abc import Collection
from datetime import UTC, datetime
from itertools import count
from typing import Any
from uuid import UUID

from events import stripe
from events.plans import Plan, Plans
from ledger.db import Connection
from ledger.stripe.entitlements import follow
from ledger.stripe.events import ReceivedEvent, journal
from ledger.stripe.objects import fold_objects

NOW = datetime(2026, 3, 14, 12, tzinfo=UTC)
DAY = 86_400
PLANS: Plans = {
    name: Plan(name=name, lookup_keys=keys)
    for name, keys in (
        ("default", ()),
        ("pro", ("pro_monthly", "pro_yearly")),
        ("scale", ("scale_monthly",)),
    )
}

_numbers = count(1)
Json = dict[str, Any]


def at(days: float = 0) -> int:
    """Unix seconds, so many days after `NOW`."""
    return int(NOW.timestamp() + days * DAY)


def a_customer(id: str = "cus_1", **fields: Any) -> Json:  # noqa: A002 - as Stripe has it
    return {"id": id, "object": "customer", "created": at(-30), **fields}


def a_subscription(*lookup_keys: str, **fields: Any) -> Json:
    items = [
        {
            "id": f"si_{number}",
            "object": "subscription_item",
            "price": {"id": f"price_{key}", "object": "price", "lookup_key": key},
            "current_period_start": at(-10),
            "current_period_end": at(20),
        }
        for number, key in enumerate(lookup_keys)
    ]
    return {
        "id": "sub_1",
        "object": "subscription",
        "customer": "cus_1",
        "status": "active",
        "cancel_at": None,
        "cancel_at_period_end": False,
        "pause_collection": None,
        "items": {"object": "list", "data": items, "has_more": False},
        **fields,
    }


def a_summary(*lookup_keys: str, has_more: bool = False, customer: str = "cus_1") -> Json:
    listed = [
        {"id": f"ent_{key}", "object": "entitlements.active_entitlement", "lookup_key": key}
        for key in lookup_keys
    ]
    return {
        "object": "entitlements.active_entitlement_summary",
        "customer": customer,
        "entitlements": {"object": "list", "data": listed, "has_more": has_more},
    }


def an_event(object_: Json, *, kind: str = "updated", created: int | None = None) -> bytes:
    """A signed body, without its signature."""
    name = object_["object"]
    return json.dumps(
        {
            "id": f"evt_{next(_numbers)}",
            "object": "event",
            "type": f"customer.{name}.{kind}" if name == "subscription" else f"{name}.{kind}",
            "created": at(-1) if created is None else created,
            "data": {"object": object_},
        }
    ).encode()


async def take_in(
    ledger: Connection, *bodies: bytes, plans: Plans = PLANS, now: datetime = NOW
) -> Collection[UUID]:
    """Journal, fold and follow, as the consumer does; the accounts whose plan changed."""
    received = [
        ReceivedEvent(event=stripe.decode(body), payload=body.decode(), received_at=now)
        for body in bodies
    ]
    async with ledger.transaction():
        new = await journal(ledger, received)
        changed = await fold_objects(ledger, new)
        return await follow(ledger, changed.customers, plans, now=now)

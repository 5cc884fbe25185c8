"""What Stripe's objects were at a moment.

By Stripe's own time of what happened, not by when we heard of it: a complaint is about what was
so. What we went by meanwhile is in an account's changes (`ledger.plan_changes`), which are by our
time, and say which event each is due to.
"""

from collections.abc import Sequence
from datetime import datetime

import msgspec
from msgspec import Struct

from ledger import _sql
from ledger.db import Connection
from ledger.stripe.objects import find_object
from ledger.stripe.order import Json, last, snapshot

_SQL = _sql.load("stripe_history.sql")


class ObjectEvent(Struct, frozen=True, kw_only=True):
    """Something that happened to an object."""

    id: str
    type: str
    created: datetime  # at Stripe
    received_at: datetime  # by us
    changed: list[str]  # what an update says it changed


class ObjectAt(Struct, frozen=True, kw_only=True):
    """An object as it was at a moment."""

    as_of: datetime  # of what is known the last before that moment
    received_at: datetime
    event_id: str | None  # which said so; none where Stripe was asked
    deleted: bool
    certain: bool  # nothing else of the same second may have been later
    object: Json  # of a deleted one the last that was seen


async def list_object_events(
    connection: Connection, object_id: str, *, limit: int = 100
) -> Sequence[ObjectEvent]:
    """What happened to an object, newest first."""
    rows = await connection.fetch(_SQL["object_events"], object_id, limit)
    return [ObjectEvent(**row) for row in rows]


async def find_object_at(connection: Connection, object_id: str, at: datetime) -> ObjectAt | None:
    """An object as it was at a moment; none where nothing is known from before it."""
    now = await find_object(connection, object_id)
    if now and now.stripe_created <= at:
        return ObjectAt(
            as_of=now.stripe_created,
            received_at=now.received_at,
            event_id=now.event_id,
            deleted=now.deleted,
            certain=now.settled,
            object=msgspec.json.decode(now.object),
        )
    found = await connection.fetch(_SQL["events_until"], object_id, at)
    rows = {row["event_id"]: row for row in found}
    if not rows:
        return None
    latest, certain = last([snapshot(row) for row in rows.values()])
    return ObjectAt(
        as_of=rows[latest.event_id]["created"],
        received_at=rows[latest.event_id]["received_at"],
        event_id=latest.event_id,
        deleted=latest.type.endswith(".deleted"),
        certain=certain,
        object=latest.object,
    )

"""Stripe's objects, one row each, as the newest event carried them."""

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct

from ledger import _sql
from ledger.db import Connection

_SQL = _sql.load("stripe.sql")


class MirroredObject(Struct, frozen=True, kw_only=True):
    """What the ledger knows of an object, and from which event."""

    id: str
    type: str
    customer: str | None
    stripe_created: datetime
    received_at: datetime
    event_id: str
    deleted: bool
    object: str  # JSON
    updated_at: datetime


async def fold_objects(connection: Connection, event_ids: Sequence[str]) -> None:
    """Bring the objects up to date with events that the journal has.

    Any order and any repeats give the same rows: newer wins, a tie goes to what was
    received later, and a deletion stays.
    """
    if event_ids:
        await connection.execute(_SQL["fold_objects"], event_ids)


async def find_object(connection: Connection, object_id: str) -> MirroredObject | None:
    """The object with this id, deleted ones included."""
    row = await connection.fetchrow(_SQL["find_object"], object_id)
    return MirroredObject(**row) if row else None

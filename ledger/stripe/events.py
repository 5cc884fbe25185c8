"""The journal of Stripe's events: each once, as received."""

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct

from events.stripe import StripeEvent
from ledger import _sql
from ledger.db import Connection

_SQL = _sql.load("stripe.sql")


class ReceivedEvent(Struct, frozen=True, kw_only=True):
    """An event as it was signed, and when the stream took them."""

    event: StripeEvent
    payload: str  # JSON
    received_at: datetime


class JournaledEvent(Struct, frozen=True, kw_only=True):
    """A row of the journal."""

    id: str
    type: str
    created: datetime
    received_at: datetime
    payload: str  # JSON


async def journal(connection: Connection, received: Sequence[ReceivedEvent]) -> Sequence[str]:
    """Store events that the journal does not have yet.

    Returns:
        The ids of the new ones.
    """
    if not received:
        return []
    rows = await connection.fetch(
        _SQL["journal"],
        [one.event.id for one in received],
        [one.event.type for one in received],
        [one.event.created for one in received],
        [one.received_at for one in received],
        [one.payload for one in received],
    )
    return [row["id"] for row in rows]


async def find_event(connection: Connection, event_id: str) -> JournaledEvent | None:
    """The journal's copy of an event."""
    row = await connection.fetchrow(_SQL["find_event"], event_id)
    return JournaledEvent(**row) if row else None

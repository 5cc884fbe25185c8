"""Stripe's objects, one row each, equal to Stripe's own whatever the order of the news."""

from collections.abc import Sequence
from datetime import datetime
from itertools import groupby
from typing import cast

from msgspec import Struct

from ledger import _sql
from ledger.db import Connection
from ledger.errors import RefusedByLedger
from ledger.stripe.api import Json, as_json
from ledger.stripe.fetch import Wanted
from ledger.stripe.order import last, snapshot

_SQL = _sql.load("stripe.sql")


class MirroredObject(Struct, frozen=True, kw_only=True):
    """What the ledger knows of an object, and from which event."""

    id: str
    type: str
    customer: str | None
    stripe_created: datetime
    received_at: datetime
    event_id: str | None
    fetched_at: datetime | None  # where Stripe was asked instead
    ask_at: datetime | None  # when Stripe is to be asked, because the events do not decide
    deleted: bool
    object: str  # JSON
    updated_at: datetime

    @property
    def settled(self) -> bool:
        """Whether it is certain that nothing known is newer."""
        return self.ask_at is None


class Changed(Struct, frozen=True, kw_only=True):
    """What news did to the objects."""

    customers: frozenset[str] = frozenset()  # ids of those whose objects are others now
    objects: frozenset[str] = frozenset()  # ids of these objects
    unsettled: frozenset[str] = frozenset()  # ids of those that Stripe has to be asked for


async def fold_objects(connection: Connection, event_ids: Sequence[str]) -> Changed:
    """Bring the objects up to date with events that the journal has.

    Any order and any repeats end in the same rows. Waits for whoever folds the same
    objects, so call it once in a transaction, and not with an isolation above READ
    COMMITTED: what that one wrote has to be seen.

    Raises:
        RefusedByLedger: an object is nested too deeply.
    """
    return await _fold(connection, event_ids, (), None)


async def store_objects(
    connection: Connection, objects: Sequence[Json], *, fetched_at: datetime
) -> Changed:
    """Take over what Stripe answered, as `fold_objects` takes what events say.

    Args:
        connection: In a transaction.
        objects: As Stripe sent them; ``{"id", "object", "deleted": true}`` for what is gone.
        fetched_at: From before Stripe was asked, best by `asking_at`: what became known
            after it may be newer, and then the object stays unsettled.

    Raises:
        RefusedByLedger: one of them cannot be kept, and so none of them is.
    """
    return await _fold(connection, (), objects, fetched_at)


async def asking_at(connection: Connection) -> datetime:
    """The time by the ledger's own clock, to be taken before Stripe is asked."""
    return cast("datetime", await connection.fetchval(_SQL["asking_at"]))


async def find_object(connection: Connection, object_id: str) -> MirroredObject | None:
    """The object with this id, deleted ones included."""
    row = await connection.fetchrow(_SQL["find_object"], object_id)
    return MirroredObject(**row) if row else None


async def list_unsettled(
    connection: Connection, kinds: Sequence[str], limit: int
) -> Sequence[Wanted]:
    """Objects of some types that Stripe is to be asked for by now, the oldest doubt first."""
    rows = await connection.fetch(_SQL["list_unsettled"], kinds, limit)
    return [Wanted(**row) for row in rows]


async def postpone(connection: Connection, ids: Sequence[str], asked_at: datetime) -> None:
    """Leave alone for an hour what is unsettled still, and by nothing that came after asking."""
    await connection.execute(_SQL["postpone"], ids, asked_at)


async def _fold(
    connection: Connection,
    event_ids: Sequence[str],
    objects: Sequence[Json],
    fetched_at: datetime | None,
) -> Changed:
    if not event_ids and not objects:
        return Changed()
    answers = [as_json(one) for one in objects]
    await connection.execute(_SQL["lock_objects"], event_ids, answers)
    rows = await connection.fetch(_SQL["fold_objects"], event_ids, answers, fetched_at)
    tied = [row["id"] for row in rows if row["tied"]]
    settled = await _settle_tied(connection, tied) if tied else Changed()
    touched = [row for row in rows if row["changed"]]
    return Changed(
        customers=settled.customers | {row["customer"] for row in touched if row["customer"]},
        objects=settled.objects | {row["id"] for row in touched},
        unsettled=frozenset(row["id"] for row in rows if row["unsettled"] and not row["tied"])
        | settled.unsettled,
    )


async def _settle_tied(connection: Connection, ids: Sequence[str]) -> Changed:
    """Choose among the events of one second."""
    rows = await connection.fetch(_SQL["read_tied"], ids)
    winners, doubtful = [], set(ids)
    for object_id, group in groupby(rows, lambda row: cast("str", row["id"])):
        events = {row["event_id"]: row for row in group}
        try:
            winner, certain = last([snapshot(event) for event in events.values()])
        except RecursionError as error:
            raise RefusedByLedger(f"{object_id} is nested too deeply to be compared") from error
        winners.append((events[winner.event_id], certain))
        if certain:
            doubtful.remove(object_id)
    chosen = [row["event_id"] for row, _ in winners]
    await connection.execute(_SQL["settle_tied"], chosen, [certain for _, certain in winners])
    changed = [row for row, _ in winners if row["differs"]]
    return Changed(
        customers=frozenset(row["customer"] for row in changed if row["customer"]),
        objects=frozenset(row["id"] for row in changed),
        unsettled=frozenset(doubtful),
    )

"""Making Stripe's objects anew from the journal, to compare and to mend; consumers may run."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

import asyncpg
import msgspec
from msgspec import Struct

from events.plans import Plans
from ledger import _sql
from ledger.db import Connection
from ledger.stripe.entitlements import follow
from ledger.stripe.objects import fold_objects

_SQL = _sql.load("stripe_rebuild.sql")

BATCH: Final = 500  # events, or objects


class Difference(Struct, frozen=True, kw_only=True):
    """An object that is not what its events say."""

    id: str
    type: str
    customer: str | None
    what: str  # in words


class Rebuilt(Struct, frozen=True, kw_only=True):
    """What came of it."""

    events: int
    differences: Sequence[Difference]
    unexplained: Sequence[str]  # ids that no event tells of: asked of Stripe, and kept


async def rebuild(
    connection: Connection, plans: Plans, *, apply: bool, progress: Callable[[int], None]
) -> Rebuilt:
    """Fold the whole journal into a shadow of the objects, and compare.

    What was asked of Stripe is kept where it is newer than its events. An object that differs
    is looked at again while nobody else may fold it, so that what came meanwhile counts.

    Args:
        connection: That nothing was asked on before.
        plans: For the accounts that what is mended gives other plans.
        apply: Put what was made in the place of what differs.
        progress: Told of events that were folded.
    """
    async with _shadow(connection):
        events = await _fold_all(connection, progress)
        suspects, unexplained = await _compare(connection)
        found = [await _look_closer(connection, one, apply=apply) for one in suspects]
    differences = [one for one in found if one is not None]
    if apply:  # not before the shadow is gone: plans follow from the objects themselves
        async with connection.transaction():
            customers = {one.customer for one in differences if one.customer}
            await follow(connection, customers, plans, why="rebuild")
    return Rebuilt(events=events, differences=differences, unexplained=unexplained)


@asynccontextmanager
async def _shadow(connection: Connection) -> AsyncIterator[None]:
    await connection.execute(_SQL["make_shadow"])
    try:
        yield
    finally:
        if not connection.is_closed():
            await connection.execute(_SQL["drop_shadow"])


async def _fold_all(connection: Connection, progress: Callable[[int], None]) -> int:
    count, after = 0, ""
    while rows := await connection.fetch(_SQL["next_events"], after, BATCH):
        ids = [row["id"] for row in rows]
        async with connection.transaction():
            await fold_objects(connection, ids)
        count, after = count + len(ids), ids[-1]
        progress(len(ids))
    return count


async def _compare(connection: Connection) -> tuple[Sequence[str], Sequence[str]]:
    """The objects that may differ, and those that no event tells of."""
    suspects = [row["id"] for row in await connection.fetch(_SQL["missing"])]
    unexplained, after = [], ""
    while rows := await connection.fetch(_SQL["compare"], after, BATCH):
        suspects += [row["id"] for row in rows if row["differs"]]
        unexplained += [row["id"] for row in rows if row["unexplained"]]
        after = rows[-1]["id"]
    return suspects, unexplained


async def _look_closer(connection: Connection, object_id: str, *, apply: bool) -> Difference | None:
    async with connection.transaction():
        ids = [row["id"] for row in await connection.fetch(_SQL["object_event_ids"], object_id)]
        if ids:
            await connection.execute(_SQL["forget_made"], object_id)
            await fold_objects(connection, ids)  # from here on nobody else folds it
        row = await connection.fetchrow(_SQL["look_closer"], object_id)
        if row is None:
            return None
        if apply:
            await connection.execute(_SQL["put_in_place"], object_id)
        return Difference(
            id=object_id, type=row["type"], customer=row["customer"], what=_words(row)
        )


def _words(row: asyncpg.Record) -> str:
    if row["missing"]:
        return "missing"
    if row["made_deleted"] != row["kept_deleted"]:
        return "deleted, and kept as if not" if row["made_deleted"] else "kept as if deleted"
    made, kept = (msgspec.json.decode(row[name]) for name in ("made_object", "kept_object"))
    fields = {name for name in {*made, *kept} if made.get(name) != kept.get(name)}
    return f"different: {', '.join(sorted(fields))}"

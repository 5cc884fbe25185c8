"""What the ledger has of Stripe's objects, next to what Stripe lists."""

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Final

import msgspec

from ledger import _sql
from ledger.db import Connection
from ledger.stripe.api import Json, as_json
from ledger.stripe.fetch import Wanted

_SQL: Final = _sql.load("stripe_passes.sql")

PAGE: Final = 1_000  # objects that are looked at together


async def compare_objects(
    connection: Connection, listed: Sequence[Json], asked_at: datetime
) -> Mapping[str, Sequence[str]]:
    """The ids of objects that the ledger lacks or has otherwise, and which fields differ.

    Args:
        connection: Where.
        listed: As Stripe has them, each with its id.
        asked_at: What the ledger heard since is not judged.

    Returns:
        No fields where the ledger has no such object, or has it for deleted.
    """
    bodies = [as_json(one) for one in listed]
    rows = await connection.fetch(_SQL["compare_objects"], bodies, asked_at)
    by_id = {one["id"]: one for one in listed}
    return {row["id"]: _differing(row["known"], by_id[row["id"]]) for row in rows}


async def forget_listed(connection: Connection) -> None:
    """Begin with another list."""
    await connection.execute(_SQL["forget_listed"])


async def note_listed(connection: Connection, ids: Sequence[str]) -> None:
    """These are in Stripe's list."""
    await connection.execute(_SQL["note_listed"], ids)


async def find_unlisted(
    connection: Connection, kind: str, before: datetime
) -> AsyncIterator[Wanted]:
    """Objects that the ledger has for alive, and that were not noted as listed.

    Args:
        connection: Where; nothing stays open on it between two objects.
        kind: Stripe's word for the type.
        before: Those that it knew of before then.
    """
    after = ""
    while rows := await connection.fetch(_SQL["find_live"], kind, before, after, PAGE):
        for row in rows:
            if not row["listed"]:
                yield Wanted(id=row["id"], type=row["type"], customer=row["customer"])
        after = rows[-1]["id"]


async def count_live(connection: Connection, kind: str, *, most: int) -> tuple[int, bool]:
    """How many objects of a type the ledger has for alive, and whether any was listed."""
    row = await connection.fetchrow(_SQL["count_live"], kind, most)
    assert row is not None
    return row["live"], row["listed"]


async def list_entitled(connection: Connection, after: str, *, limit: int) -> Sequence[str]:
    """Customers who may be entitled to something, by their ids, from after one of them on."""
    return [row["customer"] for row in await connection.fetch(_SQL["list_entitled"], after, limit)]


def _differing(known: str | None, listed: Json) -> Sequence[str]:
    if known is None:
        return []
    body = msgspec.json.decode(known, type=Json)
    names = body.keys() | listed.keys()
    return sorted(name for name in names if body.get(name) != listed.get(name))

"""What the ledger has of Stripe's objects, next to what Stripe lists."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

import asyncpg
import msgspec

from ledger import _sql
from ledger.db import Connection
from ledger.stripe.api import Json
from ledger.verification import PATIENCE_S

_SQL: Final = _sql.load("stripe_passes.sql")


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
    bodies = [msgspec.json.encode(one).decode() for one in listed]
    rows = await connection.fetch(_SQL["compare_objects"], bodies, asked_at)
    by_id = {one["id"]: one for one in listed}
    return {row["id"]: _differing(row["known"], by_id[row["id"]]) for row in rows}


async def find_live(
    connection: Connection, kind: str, before: datetime
) -> Mapping[str, str | None]:
    """Ids of objects of a type that the ledger has for alive, and whose each is.

    Args:
        connection: Where.
        kind: Stripe's word for the type.
        before: Those that it knew of before then.
    """
    rows = await _fetch_patiently(connection, _SQL["find_live"], kind, before)
    return {row["id"]: row["customer"] for row in rows}


async def list_entitled(connection: Connection, after: str = "") -> Sequence[str]:
    """Customers who may be entitled to something, by their ids, from after one of them on."""
    rows = await _fetch_patiently(connection, _SQL["list_entitled"], after)
    return [row["customer"] for row in rows]


async def _fetch_patiently(
    connection: Connection, query: str, *values: object
) -> Sequence[asyncpg.Record]:
    """Of all objects there are: that reads the whole table, once a day."""
    async with connection.transaction():
        await connection.execute(f"SET LOCAL statement_timeout = '{PATIENCE_S:.0f}s'")
        return await connection.fetch(query, *values, timeout=PATIENCE_S)


def _differing(known: str | None, listed: Json) -> Sequence[str]:
    if known is None:
        return []
    body = msgspec.json.decode(known, type=Json)
    names = body.keys() | listed.keys()
    return sorted(name for name in names if body.get(name) != listed.get(name))

"""What is needed to begin anew at another database and another account of Stripe's.

JSON lines: a header, records, and a last line with their number, so that half a file is
known as such. Written from one moment of the ledger, without asking Stripe.
"""

import json
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, Literal
from uuid import UUID, uuid4

import msgspec
from msgspec import Struct

from events.plans import Plans
from ledger import _sql
from ledger.db import Connection
from ledger.errors import BadExport
from ledger.stripe.api import Json

_SQL = _sql.load("exports.sql")

FORMAT: Final = "tollgate-stripe-export"
VERSION: Final = 1
CURSOR: Final = 500  # rows at once

Kind = Literal[
    "plan",
    "account",
    "api_key",
    "credit",
    "webhook",
    "product",
    "meter",
    "price",
    "customer",
    "subscription",
]
TABLES: Final[Mapping[str, Kind]] = {
    "accounts": "account",
    "api_keys": "api_key",
    "credits": "credit",
    "webhooks": "webhook",
}
OBJECTS: Final[Mapping[str, Kind]] = {
    "product": "product",
    "billing.meter": "meter",
    "price": "price",
    "customer": "customer",
    "subscription": "subscription",
}


class Header(Struct, frozen=True, kw_only=True):
    """The first line."""

    format: str
    version: int
    export_id: UUID  # so that a restore that was interrupted knows its own
    at: datetime


class Record(Struct, frozen=True):
    """One of the others."""

    kind: Kind
    data: Json


class _End(Struct, frozen=True, forbid_unknown_fields=True):
    records: int


class Export(Struct, frozen=True):
    """A whole one."""

    header: Header
    records: Sequence[Record]

    def of(self, kind: Kind) -> list[Json]:
        """All of a kind, in their order: what another one needs comes before it."""
        return [record.data for record in self.records if record.kind == kind]


async def write_export(connection: Connection, plans: Plans) -> AsyncIterator[str]:
    """The lines of an export. They hold secrets: hashes of keys, and webhooks' secrets."""
    header = Header(format=FORMAT, version=VERSION, export_id=uuid4(), at=datetime.now(UTC))
    yield msgspec.json.encode(header).decode()
    records = 0
    for plan in plans.values():
        records += 1
        yield msgspec.json.encode(Record("plan", msgspec.to_builtins(plan))).decode()
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        for statement, kind, values in (
            *((name, kind, ()) for name, kind in TABLES.items()),
            *(("objects", kind, (name,)) for name, kind in OBJECTS.items()),
        ):
            async for row in connection.cursor(_SQL[statement], *values, prefetch=CURSOR):
                records += 1
                yield f'{{"kind":"{kind}","data":{row[0]}}}'
    yield json.dumps({"records": records})


def read_export(lines: Iterable[str]) -> Export:
    """Read one.

    Raises:
        BadExport: it is none, of another version, or not whole.
    """
    found = [line for line in lines if line.strip()]
    try:
        header = msgspec.json.decode(found[0], type=Header)
        if header.format != FORMAT or header.version != VERSION:
            raise BadExport(f"it is of {header.format} {header.version}, not {FORMAT} {VERSION}")
        end = msgspec.json.decode(found[-1], type=_End)
        records = [msgspec.json.decode(line, type=Record) for line in found[1:-1]]
    except (IndexError, msgspec.DecodeError) as error:
        raise BadExport(f"it is no export, or half of one: {error}") from error
    if end.records != len(records):
        raise BadExport(f"it has {len(records)} of {end.records} records")
    return Export(header, records)

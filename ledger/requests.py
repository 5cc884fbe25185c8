"""What is recorded of single requests."""

from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec
from msgspec import Struct

from events.ids import time_of
from events.usage import Quantities, Usage
from ledger import _sql
from ledger.db import Connection
from ledger.tenants import as_tenant

_SQL = _sql.load("requests.sql")
_RATES: Final = msgspec.json.Decoder(dict[str, int])


class Requested(Struct, frozen=True, kw_only=True):
    """One request, all its parts together."""

    usage: Usage
    parts: int  # that were not taken back; none: nothing is billed
    recorded_at: datetime  # when the last row of it was stored


async def find_request(
    connection: Connection, request_id: UUID, account_id: UUID | None
) -> Requested | None:
    """Add up a request of an account, or of any.

    Returns:
        None where nothing is recorded.

    Raises:
        ValueError: the id is not a UUIDv7.
        OverflowError: its time is beyond the calendar.
    """
    arguments = (request_id, time_of(request_id), account_id)
    if account_id is None:
        row = await connection.fetchrow(_SQL["find_request"], *arguments)
    else:
        async with as_tenant(connection, account_id):
            row = await connection.fetchrow(_SQL["find_request"], *arguments)
    if row is None:
        return None
    usage = Usage(
        request_id=request_id,
        account_id=row["account_id"],
        key_id=row["key_id"],
        model=row["model"],
        task=row["task"],
        status=row["status"],
        duration_ms=row["duration_ms"],
        quantities=Quantities(**{name: row[name] for name in Quantities.__struct_fields__}),
        plan=row["plan"],
        rates=_RATES.decode(row["rates"]),
    )
    return Requested(usage=usage, parts=row["parts"], recorded_at=row["recorded_at"])

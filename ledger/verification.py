"""Whether totals are the sum of events, and every number that an edge gave is there."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from msgspec import Struct

from events.usage import Quantities, UsageEvent, UsageVoided
from ledger import _sql
from ledger.db import Connection
from ledger.errors import NothingToRebuildFrom

_SQL = _sql.load("verification.sql")

MOST: Final = 100  # findings of a kind: who has more has another problem
HOUR: Final = timedelta(hours=1)
#: Of an aggregation over all events; the ledger's usual patience is for requests.
PATIENCE_S: Final = 600.0


class Count(Struct, frozen=True):
    """One edge's numbers in the ledger."""

    epoch: UUID
    events: int
    numbers: int  # different ones
    first: int
    last: int


class Gap(Struct, frozen=True):
    """Numbers of one edge that are missing, both ends included."""

    epoch: UUID
    first: int
    last: int

    @property
    def numbers(self) -> range:
        """All of them."""
        return range(self.first, self.last + 1)


class Double(Struct, frozen=True):
    """One number of one edge that several events have."""

    epoch: UUID
    sequence: int
    request_ids: Sequence[UUID]


class WrongTotal(Struct, frozen=True):
    """A row of totals that is not the sum of its events, which it should be."""

    account_id: UUID
    hour: datetime
    key_id: str
    model: str
    task: str
    status: int
    should_be: Mapping[str, int]  # the quantities that differ
    is_: Mapping[str, int]


async def be_patient(connection: Connection) -> None:
    """Let this session's statements take as long as aggregating all events may."""
    await connection.execute(f"SET statement_timeout = '{PATIENCE_S:.0f}s'")


async def count_sequences(
    connection: Connection, since: datetime, epochs: Sequence[UUID] | None = None
) -> Mapping[UUID, Count]:
    """How many events of each edge there are from a time on, and how they are numbered.

    Args:
        connection: Where.
        since: The first instant that counts.
        epochs: Those of these edges; None: of all.
    """
    rows = await connection.fetch(_SQL["sequences"], since, epochs, timeout=PATIENCE_S)
    return {row["epoch"]: Count(**row) for row in rows}


async def find_gaps(
    connection: Connection, epochs: Sequence[UUID], since: datetime
) -> Sequence[Gap]:
    """Where the numbers of edges have gaps, from a time on."""
    rows = await connection.fetch(_SQL["gaps"], epochs, since, timeout=PATIENCE_S)
    return [Gap(**row) for row in rows]


async def find_doubles(
    connection: Connection, epochs: Sequence[UUID], since: datetime
) -> Sequence[Double]:
    """Numbers that were given once and are there several times; `MOST` of them."""
    rows = await connection.fetch(_SQL["doubles"], epochs, since, MOST, timeout=PATIENCE_S)
    return [Double(**row) for row in rows]


async def find_wrong_totals(
    connection: Connection, since: datetime, until: datetime
) -> Sequence[WrongTotal]:
    """Totals of full hours that are not the sum of their events; `MOST` of them."""
    rows = await connection.fetch(_SQL["wrong_totals"], since, until, MOST, timeout=PATIENCE_S)
    return [_wrong(row) for row in rows]


def _wrong(row: Any) -> WrongTotal:  # noqa: ANN401 - a Record
    names = Quantities.__struct_fields__
    zeros = [0] * len(names)
    pairs = list(zip(names, row["summed"] or zeros, row["total"] or zeros, strict=True))
    return WrongTotal(
        account_id=row["account_id"],
        hour=row["hour"],
        key_id=row["key_id"],
        model=row["model"],
        task=row["task"],
        status=row["status"],
        should_be={name: summed for name, summed, total in pairs if summed != total},
        is_={name: total for name, summed, total in pairs if summed != total},
    )


class Difference(Struct, frozen=True):
    """An event that is stored otherwise than it was stated, or not at all."""

    event: UsageEvent
    fields: Sequence[str]  # those that differ; none where there is no row


async def compare_events(
    connection: Connection, events: Sequence[UsageEvent]
) -> Sequence[Difference]:
    """Look every event's row up, and compare them field by field."""
    if not events:
        return []
    keys = [(e.data.started_at, e.data.request_id, e.data.part, _voids(e)) for e in events]
    times, *others = (list(column) for column in zip(*keys, strict=True))
    rows = await connection.fetch(
        _SQL["stored"], times, *others, min(times), max(times), timeout=PATIENCE_S
    )
    stored = {
        (row["started_at"], row["request_id"], row["part"], row["voids"]): row for row in rows
    }
    found = []
    for key, event in zip(keys, events, strict=True):
        row = stored.get(key)
        differing = (
            [] if row is None else [name for name, value in _facts(event) if row[name] != value]
        )
        if row is None or differing:
            found.append(Difference(event, differing))
    return found


def _voids(event: UsageEvent) -> bool:
    return isinstance(event, UsageVoided)


def _facts(event: UsageEvent) -> Iterator[tuple[str, Any]]:
    """What an event's row should hold, by column; but for who stated it.

    A repeat may be stated by another edge: the first one that was folded is stored.
    """
    usage = event.data
    for name in ("account_id", "key_id", "model", "task", "status", "duration_ms"):
        yield name, getattr(usage, name)
    sign = -1 if _voids(event) else 1
    for name in Quantities.__struct_fields__:
        yield name, sign * getattr(usage.quantities, name)


async def rebuild_totals(
    connection: Connection, since: datetime, until: datetime, *, kept_since: datetime
) -> int:
    """Add totals up anew from their events, hour by hour, while usage is folded.

    Folds wait for an hour's rebuild, and what they add is either seen by it or comes
    after it: a fold inserts events and adds them up in one statement.

    Args:
        connection: Where.
        since: A full hour.
        until: Another, the first that no longer counts.
        kept_since: From then on all events are kept.

    Returns:
        How many rows of totals there are now, in these hours.

    Raises:
        NothingToRebuildFrom: an hour's events are gone, or may be.
    """
    if since < kept_since:
        raise NothingToRebuildFrom(since, kept_since)
    await be_patient(connection)
    gone = await connection.fetchval(_SQL["unbacked"], since, until, timeout=PATIENCE_S)
    if gone is not None:
        raise NothingToRebuildFrom(gone)
    rows = 0
    for found in await connection.fetch(_SQL["hours"], since, until, timeout=PATIENCE_S):
        hour = found["hour"]
        async with connection.transaction():
            await connection.execute("LOCK TABLE usage_totals IN EXCLUSIVE MODE")
            await connection.execute(_SQL["forget_totals"], hour, hour + HOUR)
            status = await connection.execute(
                _SQL["rebuild_totals"], hour, hour + HOUR, timeout=PATIENCE_S
            )
            rows += int(status.rpartition(" ")[2])
    return rows


def full_hour(time: datetime) -> datetime:
    """The start of the hour that a time is in, in UTC."""
    return time.astimezone(UTC).replace(minute=0, second=0, microsecond=0)

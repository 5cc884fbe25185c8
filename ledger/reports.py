"""What was used, by time and by whatever else is asked for."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID

from msgspec import Struct

from events.units import Quantity
from events.usage import Quantities
from ledger import _sql
from ledger.db import Connection
from ledger.tenants import as_tenant

_SQL = _sql.load("reports.sql")

Bucket = Literal["minute", "hour", "day", "month", "year"]
Group = Literal["account", "key", "model", "task", "status"]
OF_ALL_S: Final = 60.0  # an operator's patience; all totals of a time are read
QUANTITIES: Final = Quantities.__struct_fields__
_FIRST: Final = UUID(int=0)
_LAST: Final = UUID(int=2**128 - 1)


class Position(Struct, frozen=True, array_like=True):
    """Where a row stands in a report: newest first, then by name, backwards."""

    bucket: datetime
    account_id: str
    key_id: str
    model: str
    task: str
    status: int


class Latency(Struct, frozen=True):
    """How long answers took, in milliseconds."""

    p50: int
    p95: int
    p99: int


class Row(Struct, frozen=True, kw_only=True):
    """What was used from `bucket` until the next one, in UTC, of one group."""

    bucket: datetime
    account_id: str  # as the others: empty where it is not grouped by
    key_id: str
    model: str
    task: str
    status: int  # or 0
    requests: int
    input_tokens: int
    output_tokens: int
    input_words: int
    output_words: int
    input_characters: int
    output_characters: int
    device_ms: int
    cost: int  # billionths of the currency's unit
    errors: int
    translated_characters: int
    latency: Latency | None = None

    @property
    def position(self) -> Position:
        """Of this row."""
        return Position(
            self.bucket, self.account_id, self.key_id, self.model, self.task, self.status
        )


class Question(Struct, frozen=True, kw_only=True):
    """What is to be reported.

    Args:
        account_id: Whose usage; None: everybody's.
        bucket: How long each is. Minutes are read from the events, all others from the
            totals, which are of hours.
        since: The first instant that counts, the start of a bucket.
        until: The first instant that no longer counts, the start of another.
        group_by: What is told apart within a bucket.
        keys: Those that count; none: all. So the other three.
        latency: Whether to find out how long answers took; from the events.
        top: By which quantity the first rows are the largest; None: the newest.
        after: The position of the last row that is known; only without `top`.
        limit: The most rows to return.
    """

    account_id: UUID | None
    bucket: Bucket
    since: datetime
    until: datetime
    group_by: Collection[Group] = ()
    keys: Sequence[str] = ()
    models: Sequence[str] = ()
    tasks: Sequence[str] = ()
    statuses: Sequence[int] = ()
    latency: bool = False
    top: Quantity | None = None
    after: Position | None = None
    limit: int = 100


class Report(Struct, frozen=True, kw_only=True):
    """Groups of which anything is known."""

    rows: Sequence[Row]
    has_more: bool


async def report_usage(connection: Connection, question: Question) -> Report:
    """Add up what was used; of everybody that takes seconds, where there is much."""
    if question.account_id is not None:
        async with as_tenant(connection, question.account_id):
            return await _report(connection, question)
    async with connection.transaction():
        await connection.execute(f"SET LOCAL statement_timeout = '{OF_ALL_S:.0f}s'")
        return await _report(connection, question)


async def _report(connection: Connection, question: Question) -> Report:
    position = question.after and (
        question.after.bucket,
        question.after.account_id,
        question.after.key_id,
        question.after.model,
        question.after.task,
        question.after.status,
    )
    found = await connection.fetch(
        _SQL["report"],
        *_accounts(question),
        question.bucket == "minute",
        question.since,
        question.until,
        question.bucket,
        list(question.group_by),
        *_filters(question),
        *(position or [None] * 6),
        question.top,
        question.limit + 1,
        timeout=OF_ALL_S,
    )
    rows = found[: question.limit]
    latencies = await _latencies(connection, question) if question.latency else {}
    return Report(
        rows=[Row(**row, latency=latencies.get(tuple(row.values())[:6])) for row in rows],
        has_more=len(found) > question.limit,
    )


async def _latencies(
    connection: Connection, question: Question
) -> Mapping[tuple[Any, ...], Latency]:
    found = await connection.fetch(
        _SQL["latencies"],
        *_accounts(question),
        question.since,
        question.until,
        question.bucket,
        list(question.group_by),
        *_filters(question),
    )
    return {tuple(row.values())[:6]: Latency(*row["percentiles"]) for row in found}


def _accounts(question: Question) -> tuple[UUID, UUID]:
    return (question.account_id or _FIRST, question.account_id or _LAST)


def _filters(question: Question) -> Sequence[Sequence[Any]]:
    return [
        list(question.keys),
        list(question.models),
        list(question.tasks),
        list(question.statuses),
    ]

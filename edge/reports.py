"""Usage reports over HTTP: what may be asked, and how the answer is written."""

import csv
import io
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
from litestar import Request, Response
from litestar.params import FromQuery, QueryParameter
from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import asdict, replace

from edge.errors import InvalidParameter
from events.plans import show_money
from events.units import Quantity
from ledger.db import Pool, acquire
from ledger.errors import BadQuestion
from ledger.questions import MAX_ROWS, Wanted, read_question, write_page
from ledger.reports import QUANTITIES, Bucket, Latency, Question, Row, report_usage

CSV: Final = "text/csv"
METER: Final = "meter"  # a group of its own: a row for each quantity
METERS: Final = tuple(name for name in QUANTITIES if name != "cost")

Names = Annotated[
    list[str] | None, QueryParameter(description="Only these; may be there several times.")
]


class UsageRow(Struct, frozen=True, kw_only=True):
    """What was used from `bucket` until the next one, in UTC."""

    bucket: datetime
    account: str | UnsetType = UNSET  # these five: where they are grouped by
    key: str | UnsetType = UNSET
    model: str | UnsetType = UNSET
    task: str | UnsetType = UNSET
    status: int | UnsetType = UNSET
    meter: str | UnsetType = UNSET  # with its amount, in place of the quantities
    amount: int | UnsetType = UNSET
    requests: int | UnsetType = UNSET
    input_tokens: int | UnsetType = UNSET
    output_tokens: int | UnsetType = UNSET
    input_words: int | UnsetType = UNSET
    output_words: int | UnsetType = UNSET
    input_characters: int | UnsetType = UNSET
    output_characters: int | UnsetType = UNSET
    device_ms: int | UnsetType = UNSET
    cost: str | UnsetType = UNSET  # in the currency's unit
    errors: int | UnsetType = UNSET  # requests that were refused or failed
    translated_characters: int | UnsetType = UNSET
    latency: Latency | UnsetType = UNSET  # in milliseconds; where it was asked for


class UsagePage(Struct, frozen=True, kw_only=True):
    """Whole buckets, newest first, in which anything was used."""

    since: datetime = msgspec.field(name="from")
    until: datetime = msgspec.field(name="to")
    data: Sequence[UsageRow]
    has_more: bool
    next_page: str | None = None  # ask again with this as `page`


class Asked(Struct, frozen=True):
    """A question, and whether its meters are to be rows."""

    question: Question
    by_meter: bool


async def read_asked(
    *,
    bucket: FromQuery[Bucket] = "day",
    since: Annotated[
        datetime | None,
        QueryParameter(name="from", description="RFC 3339; goes back to its bucket's start."),
    ] = None,
    until: Annotated[
        datetime | None,
        QueryParameter(name="to", description="RFC 3339; goes on to its bucket's end."),
    ] = None,
    group_by: Annotated[
        list[str] | None,
        QueryParameter(description="model, task, key, status, account or meter; several, too."),
    ] = None,
    key: Names = None,
    model: Names = None,
    task: Names = None,
    status: Annotated[list[int] | None, QueryParameter(description="Only these.")] = None,
    latency: Annotated[
        bool, QueryParameter(description="How long answers took; a day of them at most.")
    ] = False,
    top: Annotated[
        Quantity | None, QueryParameter(description="The largest by this, in place of the newest.")
    ] = None,
    page: Annotated[str | None, QueryParameter(description="What `next_page` said.")] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=MAX_ROWS)] = 100,
) -> Asked:
    """What the parameters of a request ask; of no account yet.

    Raises:
        InvalidParameter: answered 400, with the parameter's name.
    """
    groups = [name.strip() for names in group_by or () for name in names.split(",")]
    try:
        wanted = Wanted(
            bucket=bucket,
            since=since,
            until=until,
            group_by=[name for name in groups if name != METER],
            keys=key or (),
            models=model or (),
            tasks=task or (),
            statuses=status or (),
            latency=latency,
            top=top,
            page=page,
            limit=limit,
        )
        question = read_question(wanted, now=datetime.now(UTC))
    except BadQuestion as error:
        raise InvalidParameter(str(error), param=error.param) from error
    return Asked(question, METER in groups)


async def answer(
    request: Request[Any, Any, Any], pool: Pool, asked: Asked, account_id: UUID | None
) -> Response[UsagePage]:
    """The report of one account, or of all; as JSON, or as CSV where that is preferred."""
    question = replace(asked.question, account_id=account_id)
    async with acquire(pool) as connection:
        report = await report_usage(connection, question)
    more = report.has_more and question.top is None
    page = UsagePage(
        since=question.since,
        until=question.until,
        data=[row for found in report.rows for row in _rows(found, asked)],
        has_more=report.has_more,
        next_page=write_page(report.rows[-1].position) if more else None,
    )
    if request.accept.best_match(["application/json", CSV]) != CSV:
        return Response(page)
    headers = {"x-next-page": page.next_page} if page.next_page else {}
    text: Any = _csv(page, asked)
    return Response(text, media_type=CSV, headers=headers)


def _rows(row: Row, asked: Asked) -> Iterator[UsageRow]:
    names = {
        "account": row.account_id,
        "key": row.key_id,
        "model": row.model,
        "task": row.task,
        "status": row.status,
    }
    groups: dict[str, Any] = {name: names[name] for name in asked.question.group_by}
    if asked.by_meter:
        for meter in METERS:
            if amount := getattr(row, meter):
                yield UsageRow(bucket=row.bucket, **groups, meter=meter, amount=amount)
        return
    quantities: dict[str, Any] = {name: getattr(row, name) for name in QUANTITIES}
    quantities["cost"] = show_money(row.cost)
    latency = row.latency or UNSET
    yield UsageRow(bucket=row.bucket, **groups, **quantities, latency=latency)


def _csv(page: UsagePage, asked: Asked) -> bytes:
    """The rows with a line of names above them.

    Source: RFC 4180.
    """
    quantities = ("meter", "amount") if asked.by_meter else QUANTITIES
    latency = Latency.__struct_fields__ if asked.question.latency else ()
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["bucket", *asked.question.group_by, *quantities, *latency])
    for row in page.data:
        fields = [getattr(row, name) for name in (*asked.question.group_by, *quantities)]
        took = asdict(row.latency) if isinstance(row.latency, Latency) else {}
        found = [took.get(name, "") for name in latency]
        writer.writerow([f"{row.bucket:%Y-%m-%dT%H:%M:%SZ}", *fields, *found])
    return text.getvalue().encode()

"""`tollgate usage`."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

import typer
from msgspec.structs import asdict, replace
from nats.aio.client import Client

from consumers.verification import Verifier
from deploy.commands.output import AsJson, print_json, show_table
from deploy.commands.servers import ask_both, ask_ledger, stripe_if_known
from deploy.commands.spans import span_of
from deploy.errors import DeployError
from events.audits import UsageAudited
from events.plans import show_money
from events.units import Quantity
from ledger.accounts import list_accounts
from ledger.ages import DEFAULT_DAYS
from ledger.db import Connection
from ledger.questions import MAX_ROWS, Wanted, read_question
from ledger.reports import QUANTITIES, Bucket, Report, Row, report_usage
from ledger.verification import HOUR, full_hour, rebuild_totals

app = typer.Typer(help="Show what was used.", invoke_without_command=True)

KEPT_DAYS = "TOLLGATE_USAGE_RETENTION_DAYS"
BAR = 24  # characters of the chart's longest bar

_FIELDS = {"account": "account_id", "key": "key_id"}


class WhichAccount(DeployError):
    """There are several."""


@app.callback()
def show_usage(
    context: typer.Context,
    *,
    account_id: Annotated[
        UUID | None, typer.Option("--account", help="Not needed where there is only one.")
    ] = None,
    everybody: Annotated[bool, typer.Option("--all", help="Of all accounts.")] = False,
    bucket: Annotated[Bucket, typer.Option(help="How long a bucket is, in UTC.")] = "day",
    since: Annotated[datetime | None, typer.Option("--from")] = None,
    until: Annotated[datetime | None, typer.Option("--to")] = None,
    by: Annotated[
        list[str] | None,
        typer.Option(help="Tell these apart: model, task, key, status, account; several, too."),
    ] = None,
    top: Annotated[
        Quantity | None,
        typer.Option(metavar="QUANTITY", help="The largest by this, in place of the newest."),
    ] = None,
    chart: Annotated[
        Quantity, typer.Option(metavar="QUANTITY", help="What the bars show.")
    ] = "requests",
    latency: Annotated[
        bool, typer.Option("--latency", help="How long answers took, in ms; of a day at most.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, max=MAX_ROWS)] = 100,
    as_json: AsJson = False,
) -> None:
    """Show what an account has used, by time and by whatever else is asked for."""
    if context.invoked_subcommand is not None:
        return
    wanted = Wanted(
        bucket=bucket,
        since=since,
        until=until,
        group_by=by or (),
        latency=latency,
        top=top,
        limit=limit,
    )
    question = read_question(wanted, now=datetime.now(UTC))

    async def read(connection: Connection) -> Report:
        account = None if everybody else account_id or await _only_account(connection)
        return await report_usage(connection, replace(question, account_id=account))

    report = ask_ledger(read)
    # the newest last, where a terminal's eye is; the largest first
    rows = report.rows if top else report.rows[::-1]
    if as_json:
        print_json(rows)
        return
    groups = [_FIELDS.get(name, name) for name in question.group_by]
    show_table(*_table(rows, groups, chart, latency=latency))
    if report.has_more:
        print(f"There is more: these are {limit}; see --limit.")


@app.command("verify")
def verify(
    *,
    since: Annotated[
        datetime | None, typer.Option("--from", help="All that is kept, if not told.")
    ] = None,
    until: Annotated[datetime | None, typer.Option("--to")] = None,
    kept_days: Annotated[
        float,
        typer.Option(
            parser=span_of, metavar="DAYS", help="For how long events are kept.", envvar=KEPT_DAYS
        ),
    ] = DEFAULT_DAYS,
    ledger_only: Annotated[
        bool, typer.Option("--ledger-only", help="Do not read the stream as well, nor ask Stripe.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Compare totals, events, the stream, what edges counted and what Stripe was told.

    Says exactly what is wrong.
    """
    now = datetime.now(UTC)
    kept_since = now - timedelta(days=kept_days)

    async def look(ledger: Connection, nats: Client) -> UsageAudited:
        async with stripe_if_known() as stripe:
            verifier = Verifier(
                nats,
                ledger,
                since=_utc(since) or kept_since,
                until=_utc(until) or now,
                kept_since=kept_since,
                stripe=None if ledger_only else stripe,
            )
            return await verifier.verify(read_stream=not ledger_only)

    found = ask_both(look)
    if as_json:
        print_json(found)
    else:
        for finding in found.findings:
            print(f"{finding.kind}: {finding.what}")
        print(f"{found.missing:,} missing, {found.double:,} double of {found.events:,}")
    if not found.balanced:
        raise typer.Exit(1)


@app.command("rebuild")
def rebuild(
    *,
    since: Annotated[datetime, typer.Option("--from", help="From the start of its hour.")],
    until: Annotated[
        datetime | None, typer.Option("--to", help="To the start of its hour; now, if not told.")
    ] = None,
    kept_days: Annotated[
        float,
        typer.Option(
            parser=span_of, metavar="DAYS", help="For how long events are kept.", envvar=KEPT_DAYS
        ),
    ] = DEFAULT_DAYS,
) -> None:
    """Add totals up anew from their events, while usage goes on."""
    now = datetime.now(UTC)
    first = full_hour(_utc(since) or now)
    last = full_hour(_utc(until) or now + HOUR)
    kept_since = now - timedelta(days=kept_days)
    rows = ask_ledger(
        lambda connection: rebuild_totals(connection, first, last, kept_since=kept_since)
    )
    print(f"{rows:,} totals from {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC are rebuilt")


def _utc(time: datetime | None) -> datetime | None:
    return time.replace(tzinfo=UTC) if time is not None and time.tzinfo is None else time


def _table(
    rows: Sequence[Row], groups: Sequence[str], chart: str, *, latency: bool
) -> tuple[list[str], list[list[Any]]]:
    """Columns and cells: what is nowhere used is left out, and each row has a bar."""
    used = [name for name in QUANTITIES if name == chart or any(getattr(row, name) for row in rows)]
    took = ["p50", "p95", "p99"] if latency else []
    most = max((getattr(row, chart) for row in rows), default=0)
    cells = []
    for row in rows:
        quantities = [
            show_money(row.cost) if name == "cost" else getattr(row, name) for name in used
        ]
        latencies = asdict(row.latency) if row.latency else {}
        cells.append(
            [
                row.bucket,
                *(getattr(row, name) for name in groups),
                *quantities,
                *(latencies.get(name) for name in took),
                _bar(getattr(row, chart), most),
            ]
        )
    return ["bucket", *groups, *used, *took, f"({chart})"], cells


def _bar(amount: int, most: int) -> str:
    """A bar in eighths of a character."""
    eighths = round(8 * BAR * amount / most) if amount > 0 else 0
    whole, rest = divmod(eighths, 8)
    return "█" * whole + (chr(ord("█") + 8 - rest) if rest else "")


async def _only_account(connection: Connection) -> UUID:
    found = await list_accounts(connection)
    if len(found) != 1:
        raise WhichAccount(f"there are {len(found)} accounts; name one with --account, or --all")
    return found[0].id

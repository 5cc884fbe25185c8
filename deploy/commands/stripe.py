"""`tollgate stripe`."""

from datetime import datetime
from typing import Annotated

import typer

from deploy.commands import stripe_money, stripe_passes
from deploy.commands.output import AsJson
from deploy.commands.stripe_history import show_history
from deploy.commands.stripe_meter import meter
from deploy.commands.stripe_rebuild import run_rebuild
from deploy.commands.stripe_replay import replay_event

app = typer.Typer(help="Stripe's side of the ledger.")
app.command("sync")(stripe_passes.sync)
app.command("sweep")(stripe_passes.sweep)
app.command("status")(stripe_passes.show_status)
app.command("meter")(meter)
app.command("link")(stripe_money.link)
app.command("waiting")(stripe_money.waiting)
app.command("explain")(stripe_money.explain)
app.command("export")(stripe_money.export)
app.command("restore")(stripe_money.restore)

MOMENTS = [
    f"%Y-%m-%d{time}{zone}"
    for time in ("", "T%H:%M", "T%H:%M:%S", "T%H:%M:%S.%f", " %H:%M", " %H:%M:%S")
    for zone in ("", "%z")
]


@app.command("history")
def history(
    id_: Annotated[str, typer.Argument(metavar="ID", help="Of an account, or of Stripe's.")],
    *,
    at: Annotated[
        datetime | None,
        typer.Option(formats=MOMENTS, metavar="TIME", help="As 2026-11-03T14:03, in UTC."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1)] = 100,
    as_json: AsJson = False,
) -> None:
    """Show what happened to something, or with --at how it was then.

    Of Stripe's objects by Stripe's time; of accounts, their plan and limits by ours.
    """
    show_history(id_, at, limit=limit, as_json=as_json)


@app.command("replay")
def replay(event: Annotated[str, typer.Argument(help="Its id: evt_...")]) -> None:
    """Fold an event of the journal once more, and say whether that changed anything."""
    changed = replay_event(event)
    names = sorted(changed.objects | changed.unsettled)
    print(f"changed: {', '.join(names)}" if names else "nothing changed: the ledger had it already")


@app.command("rebuild")
def rebuild(
    *,
    apply: Annotated[bool, typer.Option("--apply", help="Put right what differs.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make the objects anew from the journal and compare; status 1 where something differs."""
    if not run_rebuild(apply=apply, as_json=as_json):
        raise typer.Exit(1)

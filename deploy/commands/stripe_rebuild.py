"""`tollgate stripe rebuild`: the objects, made anew from the journal."""

from rich.progress import MofNCompleteColumn, Progress, TextColumn

from deploy.commands.output import print_json, show
from deploy.commands.plans import running_plans
from deploy.commands.servers import ask_ledger
from ledger.db import Connection
from ledger.stripe.rebuild import Rebuilt, rebuild

COLUMNS = ("id", "type", "what")
SHOWN = 20  # of what no event tells


def run_rebuild(*, apply: bool, as_json: bool) -> bool:
    """Compare, mend where that is wanted, and print what was found.

    Returns:
        Whether all is as the journal says now.
    """
    plans = running_plans().plans
    columns = (TextColumn("events"), MofNCompleteColumn())
    with Progress(*columns, transient=True, disable=as_json) as bar:
        task = bar.add_task("", total=None)

        async def run(connection: Connection) -> Rebuilt:
            return await rebuild(
                connection,
                plans,
                apply=apply,
                progress=lambda count: bar.update(task, advance=count),
            )

        done = ask_ledger(run)
    if as_json:
        print_json(done)
    else:
        _print(done, apply=apply)
    return apply or not done.differences


def _print(done: Rebuilt, *, apply: bool) -> None:
    if done.differences:
        show(done.differences, COLUMNS, as_json=False)
    for object_id in done.unexplained[:SHOWN]:
        print(f"{object_id}: no event tells of it; kept as Stripe answered")
    if len(done.unexplained) > SHOWN:
        print(f"and {len(done.unexplained) - SHOWN:,} more of which no event tells")
    verb = "mended" if apply else "found; mend them with --apply"
    print(f"{done.events:,} events: {len(done.differences):,} differences {verb}")

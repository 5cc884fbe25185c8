"""`tollgate stripe sync | sweep | status`: passes over Stripe's lists."""

from collections.abc import Callable

from msgspec import Struct
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from consumers.stripe.passes import Run, take_turn
from consumers.stripe.sweep import Sweep
from consumers.stripe.sync import LISTS, Sync
from deploy.commands.output import AsJson, print_json, show
from deploy.commands.plans import running_plans
from deploy.commands.servers import ask_ledger, ask_stripe
from deploy.environment import environment_for_commands, read_settings
from deploy.errors import DeployError
from ledger.db import Pool, acquire, only_one
from ledger.stripe.api import StripeApi
from ledger.stripe.passes import SWEEP, SYNC, Pass, find_pass, list_passes

COLUMNS = ("name", "finished_at", "due_at", "passed", "found", "failures", "error", "note")
DAY_S = 86_400.0


class SweepSettings(Struct, frozen=True, kw_only=True):
    """How often the consumers sweep."""

    stripe_sweep_s: float = DAY_S


class PassBusy(DeployError):
    """Somebody else is at it."""


class PassFailed(DeployError):
    """It did not come to its end; what it did stays done."""


def sync() -> None:
    """Take over all objects that Stripe lists; cut short, it goes on where it was."""
    plans = running_plans().plans
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total} lists, {task.fields[passed]:,} objects"),
        TimeElapsedColumn(),
    )
    progress = Progress(*columns, console=Console(stderr=True))
    bar = progress.add_task("Stripe", total=len(LISTS), passed=0)

    def tell(state: Pass) -> None:
        done = LISTS.index(state.list)
        progress.update(bar, description=state.list, completed=done, passed=state.passed)

    def run(api: StripeApi) -> Run:
        progress.start()  # not before there is a key, and nobody else at it
        return Sync(api, plans, tell).run

    try:
        done = _run(SYNC, run, every_s=0)
        progress.update(bar, description="Stripe", completed=len(LISTS), passed=done.passed)
    finally:
        progress.stop()
    print(f"{done.passed:,} objects, {done.found:,} of them new or changed")


def sweep(*, as_json: AsJson = False) -> None:
    """Compare the ledger's objects with Stripe, repair them, and print each difference."""
    plans = running_plans()
    sweeps: list[Sweep] = []

    def run(api: StripeApi) -> Run:
        sweeps.append(Sweep(api, plans))
        return sweeps[0].run

    every_s = read_settings(SweepSettings, environment_for_commands()).stripe_sweep_s
    done = _run(SWEEP, run, every_s=every_s)
    differences = sweeps[0].differences
    if as_json:
        print_json(differences)
        return
    for difference in differences:
        print(difference)
    print(f"{done.passed:,} objects compared, {len(differences):,} repaired")


def show_status(*, as_json: AsJson = False) -> None:
    """Show when Stripe's lists were last passed, and what became of it."""
    show(ask_ledger(list_passes), COLUMNS, as_json=as_json)


def _run(name: str, make: Callable[[StripeApi], Run], *, every_s: float) -> Pass:
    """Run a pass here and now."""

    async def run(pool: Pool, api: StripeApi) -> tuple[Pass | None, Pass | None]:
        async with (
            acquire(pool) as connection,
            only_one(connection, f"stripe_{name}") as ours,
        ):
            if not ours:
                raise PassBusy(f"a {name} is running already; `tollgate stripe status` shows it")
            done = await take_turn(name, make(api), connection, every_s=every_s)
            return done, await find_pass(connection, name)

    done, known = ask_stripe(run)
    if done is None:
        raise PassFailed(known.error if known else f"the {name} failed")
    return done

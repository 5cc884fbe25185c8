"""`tollgate accounts`."""

from typing import Annotated, Any
from uuid import UUID

import typer

from deploy.commands.money import amount_of
from deploy.commands.output import AsJson, show
from deploy.commands.plans import running_plans
from deploy.commands.servers import ask_ledger
from events.plans import DEFAULT
from ledger import accounts

app = typer.Typer(help="Make, change and list accounts.")
COLUMNS = ("id", "name", "plan", "operator_plan", "stripe_plan", "created_at")

Plan = Annotated[str | None, typer.Option(help="A plan of the plans file.")]


@app.command("create")
def create(name: str, *, plan: Plan = None, as_json: AsJson = False) -> None:
    """Make an account."""
    if plan is not None:
        running_plans().require(plan)
    account = ask_ledger(
        lambda connection: accounts.create_account(connection, name, plan=plan or DEFAULT)
    )
    show([account], COLUMNS, as_json=as_json)


@app.command("change")
def change(
    account_id: UUID,
    *,
    plan: Plan = None,
    limit: Annotated[
        list[str] | None, typer.Option(help="POLICY=LIMIT instead of the plan's; again for more.")
    ] = None,
    concurrency: Annotated[int | None, typer.Option(min=1, help="Requests at once.")] = None,
    monthly_budget: Annotated[str | None, typer.Option(help='Like "12.50".')] = None,
    as_json: AsJson = False,
) -> None:
    """Change what was agreed with an account; what is not named stays."""
    changes: dict[str, Any] = {}
    if plan is not None:
        running_plans().require(plan)
        changes["plan"] = plan
    if limit is not None:
        changes["limits"] = _limits(limit)
        running_plans().require_limits(changes["limits"])
    if concurrency is not None:
        changes["concurrency"] = concurrency
    if monthly_budget is not None:
        changes["monthly_budget"] = amount_of(monthly_budget)
    account = ask_ledger(
        lambda connection: accounts.change_account(connection, account_id, changes)
    )
    show([account], COLUMNS, as_json=as_json)


def _limits(given: list[str]) -> dict[str, int | str]:
    limits: dict[str, int | str] = {}
    for one in given:
        name, _, limit = one.partition("=")
        if not limit:
            raise typer.BadParameter(f"write {one!r} as POLICY=LIMIT")
        limits[name] = int(limit) if limit.isdecimal() else limit
    return limits


@app.command("list")
def list_all(*, as_json: AsJson = False) -> None:
    """List every account."""
    show(ask_ledger(accounts.list_accounts), COLUMNS, as_json=as_json)

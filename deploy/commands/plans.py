"""`tollgate plans`."""

from pathlib import Path
from typing import Annotated

import typer
from msgspec import Struct

from deploy.commands.output import AsJson, print_json, show
from deploy.environment import environment_for_commands, read_settings
from edge.plans import RunningPlans
from events.plans import Plan, Policy, read_plans

COLUMNS = ("plan", "policy", "limit", "per", "only", "shadow")


class PlansSettings(Struct, frozen=True, kw_only=True):
    """Where the plans are."""

    plans_file: str = ""


class _Row(Struct):
    """One policy of one plan."""

    plan: str
    policy: str = ""
    limit: str = ""
    per: str = ""
    only: str = ""
    shadow: str = ""


def running_plans() -> RunningPlans:
    """The plans of TOLLGATE_PLANS_FILE."""
    settings = read_settings(PlansSettings, environment_for_commands())
    return RunningPlans(Path(settings.plans_file) if settings.plans_file else None)


def show_plans(
    file: Annotated[Path | None, typer.Argument(help="Instead of TOLLGATE_PLANS_FILE.")] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Check a plans file, and show what it says."""
    plans = read_plans(file) if file is not None else running_plans().plans
    if as_json:
        print_json(list(plans.values()))
        return
    show([row for plan in plans.values() for row in _rows(plan)], COLUMNS, as_json=False)


def _rows(plan: Plan) -> list[_Row]:
    rows = [_row(plan, policy) for policy in plan.policy]
    if plan.concurrency is not None:
        rows.append(_Row(plan.name, "concurrency", f"{plan.concurrency:,} at once", "account"))
    if plan.monthly_budget is not None:
        rows.append(_Row(plan.name, "monthly_budget", f"{plan.monthly_budget} a month", "account"))
    if plan.prepaid:
        rows.append(_Row(plan.name, "credit", "what was granted", "account"))
    return rows or [_Row(plan.name, "", "none")]


def _row(plan: Plan, policy: Policy) -> _Row:
    limit = f"{policy.limit:,}" if isinstance(policy.limit, int) else policy.limit
    return _Row(
        plan.name,
        policy.name,
        f"{limit} {policy.unit.replace('_', ' ')} each {policy.window}",
        policy.per,
        ", ".join(policy.only),
        "yes" if policy.shadow else "",
    )

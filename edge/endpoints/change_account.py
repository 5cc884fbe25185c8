"""An account's terms."""

from typing import Annotated, Any
from uuid import UUID

from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from msgspec import UNSET, Meta, Struct, UnsetType

from edge.endpoint import API, Admin, route
from edge.errors import InvalidInput
from edge.examples import Example
from edge.input import money_of
from edge.plans import RunningPlans
from events.plans import DEFAULT
from ledger.accounts import LedgerAccount, change_account
from ledger.db import Pool, acquire


class Changes(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is not named stays as it is; null goes back to what the plan says."""

    plan: str | UnsetType | None = UNSET
    limits: dict[str, int | str] | UnsetType | None = UNSET  # by a policy's name
    concurrency: Annotated[int, Meta(ge=1, le=100000)] | UnsetType | None = UNSET
    monthly_budget: str | UnsetType | None = UNSET  # like "12.50"


async def patch_account(
    account_id: FromPath[UUID],
    data: JSONBody[Changes],
    pool: NamedDependency[Pool],
    plans: NamedDependency[RunningPlans],
) -> LedgerAccount:
    """Change an account's terms; every edge hears of it at once.

    Raises:
        UnknownAccount: there is no such account.
        InvalidInput: there is no such plan, or no such policy in it.
    """
    changes: dict[str, Any] = {
        name: value
        for name in data.__struct_fields__
        if (value := getattr(data, name)) is not UNSET
    }
    if "plan" in changes:
        changes["plan"] = changes["plan"] or DEFAULT
        plans.require(changes["plan"])
    if "limits" in changes:
        changes["limits"] = changes["limits"] or {}
        plans.require_limits(changes["limits"])
    if changes.get("monthly_budget") is not None:
        changes["monthly_budget"] = money_of(changes["monthly_budget"], "monthly_budget")
    async with acquire(pool) as connection:
        return await change_account(connection, account_id, changes)


endpoint = route(
    "PATCH",
    "/v1/admin/accounts/{account_id:uuid}",
    patch_account,
    description="Changes an account's plan, or gives it limits of its own. Budgets are given "
    'like "12.50" and shown in billionths.',
    perspective=Admin,
    services={API},
    raises={InvalidInput},
    example=Example(body=Changes(concurrency=8, monthly_budget="12.50")),
)

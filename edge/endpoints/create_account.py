"""A new account."""

from typing import Annotated

from litestar.di import NamedDependency
from litestar.params import JSONBody
from msgspec import Meta, Struct

from edge.endpoint import API, Admin, route
from edge.errors import InvalidInput
from edge.examples import Example
from edge.plans import RunningPlans
from events.plans import DEFAULT
from ledger.accounts import LedgerAccount, create_account
from ledger.db import Pool, acquire


class NewAccount(Struct, frozen=True, forbid_unknown_fields=True):
    """Who it is for, and on which plan."""

    name: Annotated[str, Meta(min_length=1, max_length=200, pattern=r"\S")]
    plan: str = DEFAULT


async def post_account(
    data: JSONBody[NewAccount],
    pool: NamedDependency[Pool],
    plans: NamedDependency[RunningPlans],
) -> LedgerAccount:
    """Make an account; it has no keys yet.

    Raises:
        InvalidInput: there is no such plan.
    """
    plans.require(data.plan)
    async with acquire(pool) as connection:
        return await create_account(connection, data.name, plan=data.plan)


endpoint = route(
    "POST",
    "/v1/admin/accounts",
    post_account,
    description="Makes an account.",
    perspective=Admin,
    services={API},
    status_code=201,
    raises={InvalidInput},
    example=Example(body=NewAccount("Ada Lovelace")),
)

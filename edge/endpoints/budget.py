"""The most that a customer wants to spend in a month."""

from litestar.di import NamedDependency
from litestar.params import JSONBody
from msgspec import Struct

from edge.auth import Caller
from edge.endpoint import API, Application, route
from edge.errors import InvalidInput
from edge.examples import Example
from edge.input import money_of
from events.plans import show_money
from ledger.accounts import change_account
from ledger.db import Pool, acquire


class Budget(Struct, frozen=True, forbid_unknown_fields=True):
    """An amount like "12.50", for each calendar month in UTC; null: only the operator's."""

    monthly: str | None


async def put_budget(
    data: JSONBody[Budget], caller: NamedDependency[Caller], pool: NamedDependency[Pool]
) -> Budget:
    """Set the customer's own budget; the lower of it and the operator's counts."""
    amount = None if data.monthly is None else money_of(data.monthly, "monthly")
    async with acquire(pool) as connection:
        account = await change_account(
            connection, caller.account.id, {"own_budget": amount}, why="customer"
        )
    return Budget(None if account.own_budget is None else show_money(account.own_budget))


endpoint = route(
    "PUT",
    "/v1/budget",
    put_budget,
    description="Sets what the account will spend in a calendar month at most. It can lower "
    "what the operator allows, and take that back; it cannot raise it.",
    perspective=Application,
    services={API},
    raises={InvalidInput},
    example=Example(body=Budget("12.50")),
)

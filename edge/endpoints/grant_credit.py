"""Credit, and its corrections."""

from typing import Annotated
from uuid import UUID

from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from msgspec import Meta, Struct

from edge.endpoint import API, Admin, route
from edge.errors import InvalidInput
from edge.examples import Example
from edge.input import money_of
from ledger.accounts import Credit, grant_credit
from ledger.db import Pool, acquire


class NewCredit(Struct, frozen=True, forbid_unknown_fields=True):
    """How much, like "12.50", and why; a negative amount takes back."""

    amount: str
    reason: Annotated[str, Meta(min_length=1, max_length=500, pattern=r"\S")]


async def post_credit(
    account_id: FromPath[UUID], data: JSONBody[NewCredit], pool: NamedDependency[Pool]
) -> Credit:
    """Add an entry; entries are never changed.

    Raises:
        UnknownAccount: there is no such account.
    """
    amount = money_of(data.amount.removeprefix("-"), "amount")
    if data.amount.startswith("-"):
        amount = -amount
    async with acquire(pool) as connection:
        return await grant_credit(connection, account_id, amount, data.reason)


endpoint = route(
    "POST",
    "/v1/admin/accounts/{account_id:uuid}/credits",
    post_credit,
    description="Grants credit to an account, or takes some back, for a reason that stays.",
    perspective=Admin,
    services={API},
    status_code=201,
    raises={InvalidInput},
    example=Example(body=NewCredit("12.50", "Thanks for the bug report.")),
)

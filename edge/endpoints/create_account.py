"""A new account."""

from typing import Annotated

from litestar.di import NamedDependency
from litestar.params import JSONBody
from msgspec import Meta, Struct

from edge.endpoint import API, Admin, route
from ledger.accounts import Account, create_account
from ledger.db import Pool, acquire


class NewAccount(Struct, frozen=True, forbid_unknown_fields=True):
    """Who it is for."""

    name: Annotated[str, Meta(min_length=1, max_length=200, pattern=r"^[^\x00]*\S[^\x00]*$")]


async def post_account(data: JSONBody[NewAccount], pool: NamedDependency[Pool]) -> Account:
    """Make an account; it has no keys yet."""
    async with acquire(pool) as connection:
        return await create_account(connection, data.name)


endpoint = route(
    "POST",
    "/v1/admin/accounts",
    post_account,
    description="Makes an account.",
    perspective=Admin,
    services={API},
    status_code=201,
)

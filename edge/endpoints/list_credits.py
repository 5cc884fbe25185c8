"""An account's credits and corrections."""

from collections.abc import Sequence
from uuid import UUID

from litestar.di import NamedDependency
from litestar.params import FromPath
from msgspec import Struct

from edge.endpoint import API, Admin, route
from edge.examples import Example
from ledger.accounts import Credit, list_credits
from ledger.db import Pool, acquire


class Credits(Struct, frozen=True):
    """Newest first; amounts in billionths."""

    data: Sequence[Credit]


async def get_credits(account_id: FromPath[UUID], pool: NamedDependency[Pool]) -> Credits:
    """Read the last hundred."""
    async with acquire(pool) as connection:
        return Credits(await list_credits(connection, account_id))


endpoint = route(
    "GET",
    "/v1/admin/accounts/{account_id:uuid}/credits",
    get_credits,
    description="The last hundred credits and corrections of an account, newest first.",
    perspective=Admin,
    services={API},
    example=Example(after="post_credit"),
)

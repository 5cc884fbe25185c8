"""Every account."""

from litestar.di import NamedDependency
from msgspec import Struct

from edge.endpoint import API, Admin, route
from ledger.accounts import LedgerAccount, list_accounts
from ledger.db import Pool, acquire


class AccountList(Struct, frozen=True):
    """Oldest first."""

    data: list[LedgerAccount]


async def get_accounts(pool: NamedDependency[Pool]) -> AccountList:
    """List them."""
    async with acquire(pool) as connection:
        return AccountList(list(await list_accounts(connection)))


endpoint = route(
    "GET",
    "/v1/admin/accounts",
    get_accounts,
    description="Every account, oldest first.",
    perspective=Admin,
    services={API},
)

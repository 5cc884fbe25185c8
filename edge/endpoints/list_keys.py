"""An account's API keys."""

from collections.abc import Sequence
from uuid import UUID

from litestar.di import NamedDependency
from litestar.params import FromPath
from msgspec import Struct

from edge.endpoint import API, Admin, route
from edge.examples import Example
from events.accounts import ApiKey
from ledger.api_keys import list_keys
from ledger.db import Pool, acquire


class Keys(Struct, frozen=True):
    """Oldest first, revoked and expired ones included."""

    data: Sequence[ApiKey]


async def get_keys(account_id: FromPath[UUID], pool: NamedDependency[Pool]) -> Keys:
    """Read them; the keys themselves nobody has."""
    async with acquire(pool) as connection:
        return Keys(await list_keys(connection, account_id))


endpoint = route(
    "GET",
    "/v1/admin/accounts/{account_id:uuid}/keys",
    get_keys,
    description="The keys of an account by their public ids, and when each was last used.",
    perspective=Admin,
    services={API},
    example=Example(after="post_key"),
)

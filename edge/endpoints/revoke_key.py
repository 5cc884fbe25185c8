"""An API key's end."""

from litestar.di import NamedDependency
from litestar.params import FromPath

from edge.endpoint import API, Admin, route
from edge.errors import NotFound
from events.accounts import ApiKey
from ledger.api_keys import revoke_key
from ledger.db import Pool, acquire


async def delete_key(key_id: FromPath[str], pool: NamedDependency[Pool]) -> ApiKey:
    """Revoke a key; every edge refuses it as soon as it hears of it.

    Raises:
        NotFound: there is no such key.
    """
    async with acquire(pool) as connection:
        key = await revoke_key(connection, key_id)
    if key is None:
        raise NotFound(f"there is no key {key_id!r}")
    return key


endpoint = route(
    "DELETE",
    "/v1/admin/keys/{key_id:str}",
    delete_key,
    description="Revokes a key. Revoking it again changes nothing.",
    perspective=Admin,
    services={API},
)

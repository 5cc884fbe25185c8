"""A new API key."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from msgspec import Meta, Struct

from edge.endpoint import API, Admin, route
from edge.examples import Example
from edge.settings import Settings
from events.accounts import ApiKey
from ledger.api_keys import create_key
from ledger.db import Pool, acquire

Name = Annotated[str, Meta(min_length=1, max_length=200)]


class NewKey(Struct, frozen=True, forbid_unknown_fields=True):
    """What the key is for, and until when."""

    name: Annotated[str, Meta(max_length=200)] = ""
    scope: Annotated[tuple[Name, ...], Meta(max_length=100)] = ()  # models or tasks; none: all
    expires_at: Annotated[datetime, Meta(tz=True)] | None = None


class CreatedKey(Struct, frozen=True):
    """The one time that the key itself is shown."""

    api_key: str
    key: ApiKey


async def post_key(
    account_id: FromPath[UUID],
    data: JSONBody[NewKey],
    pool: NamedDependency[Pool],
    settings: NamedDependency[Settings],
) -> CreatedKey:
    """Mint a key for an account.

    Raises:
        UnknownAccount: there is no such account.
    """
    async with acquire(pool) as connection:
        secret = settings.key_secret.encode()
        key, plain = await create_key(
            connection,
            account_id,
            data.name,
            secret,
            scope=data.scope,
            expires_at=data.expires_at,
        )
    return CreatedKey(plain, key)


endpoint = route(
    "POST",
    "/v1/admin/accounts/{account_id:uuid}/keys",
    post_key,
    description="Makes an API key. It is shown this once; only a hash of it is kept.",
    perspective=Admin,
    services={API},
    status_code=201,
    example=Example(body=NewKey("to try", scope=("entities", "embeddings"))),
)

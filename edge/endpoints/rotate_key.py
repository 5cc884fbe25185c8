"""A key in place of another."""

from datetime import timedelta
from typing import Annotated

from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from msgspec import Meta, Struct

from edge.endpoint import API, Admin, route
from edge.endpoints.create_key import CreatedKey
from edge.errors import NotFound
from edge.examples import Example
from edge.settings import Settings
from ledger.api_keys import rotate_key
from ledger.db import Pool, acquire


class Rotation(Struct, frozen=True, forbid_unknown_fields=True):
    """For how long the old key goes on working."""

    overlap_s: Annotated[int, Meta(ge=0, le=90 * 86_400)] = 86_400


async def post_rotation(
    key_id: FromPath[str],
    data: JSONBody[Rotation],
    pool: NamedDependency[Pool],
    settings: NamedDependency[Settings],
) -> CreatedKey:
    """Mint a key with the same name and scope, and let the old one expire.

    Raises:
        NotFound: there is no such key.
    """
    overlap = timedelta(seconds=data.overlap_s)
    async with acquire(pool) as connection:
        made = await rotate_key(connection, key_id, settings.key_secret.encode(), overlap=overlap)
    if made is None:
        raise NotFound(f"there is no key {key_id!r}")
    key, plain = made
    return CreatedKey(plain, key)


endpoint = route(
    "POST",
    "/v1/admin/keys/{key_id:str}/rotate",
    post_rotation,
    description="Makes a key like another one, which goes on working for a while.",
    perspective=Admin,
    services={API},
    status_code=201,
    example=Example(body=Rotation(overlap_s=3_600)),
)

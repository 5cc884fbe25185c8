"""Reads and writes of API keys."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import asyncpg
from msgspec import Struct

from ledger import _sql, key_format
from ledger.db import Connection
from ledger.errors import UnknownAccount

_SQL = _sql.load("api_keys.sql")


class ApiKey(Struct, frozen=True, kw_only=True):
    """What the ledger tells about a key; the key itself it does not know."""

    id: str  # the public part
    account_id: UUID
    name: str
    created_at: datetime
    revoked_at: datetime | None


async def create_key(
    connection: Connection, account_id: UUID, name: str, secret: bytes
) -> tuple[ApiKey, str]:
    """Mint a key for an account.

    Args:
        connection: Where.
        account_id: Whose.
        name: What its owner calls it.
        secret: The server's, under which keys are hashed.

    Returns:
        The key's record, and the plain key, which cannot be had again.

    Raises:
        UnknownAccount: there is no such account.
    """
    minted = key_format.mint(secret)
    try:
        row = await connection.fetchrow(
            _SQL["create_key"], minted.public_id, account_id, minted.hash, name
        )
    except asyncpg.ForeignKeyViolationError as error:
        raise UnknownAccount(account_id) from error
    assert row is not None
    return ApiKey(**row), minted.plain


async def find_key(connection: Connection, hash: bytes) -> ApiKey | None:  # noqa: A002
    """The key with this hash, revoked ones included: see `revoked_at`."""
    row = await connection.fetchrow(_SQL["find_key"], hash)
    return ApiKey(**row) if row else None


async def list_keys(connection: Connection, account_id: UUID | None = None) -> Sequence[ApiKey]:
    """The keys of one account, or of all, oldest first and revoked ones included."""
    return [ApiKey(**row) for row in await connection.fetch(_SQL["list_keys"], account_id)]


async def revoke_key(connection: Connection, key_id: str) -> ApiKey | None:
    """Revoke a key, for good; the time of the first revocation stays.

    Returns:
        The key, or None where there is no such key.
    """
    row = await connection.fetchrow(_SQL["revoke_key"], key_id)
    return ApiKey(**row) if row else None

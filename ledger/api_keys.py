"""Reads and writes of API keys.

Whatever an edge must know of is announced in the transaction that changes it.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

import asyncpg
import msgspec
from msgspec import Struct

from events import accounts
from events.accounts import Account, ApiKey, KeyChanged
from ledger import _sql, key_format
from ledger.accounts import changing
from ledger.db import Connection
from ledger.outbox import announce

_SQL = _sql.load("api_keys.sql")
_PLAIN: Final = tuple(name for name in ApiKey.__struct_fields__ if name != "scope")
_TERMS: Final = ("plan", "concurrency", "monthly_budget", "own_budget", "credit", "version")


async def create_key(
    connection: Connection,
    account_id: UUID,
    name: str,
    secret: bytes,
    *,
    scope: Sequence[str] = (),
    expires_at: datetime | None = None,
) -> tuple[ApiKey, str]:
    """Mint a key for an account.

    Args:
        connection: Where.
        account_id: Whose.
        name: What its owner calls it.
        secret: The server's, under which keys are hashed.
        scope: The models or tasks that it is good for; none named: all.
        expires_at: When it ends by itself.

    Returns:
        The key's record, and the plain key, which cannot be had again.

    Raises:
        UnknownAccount: there is no such account.
    """
    minted = key_format.mint(secret)
    async with changing(connection, account_id) as version:
        row = await connection.fetchrow(
            _SQL["create_key"],
            minted.public_id,
            account_id,
            minted.hash,
            name,
            list(scope),
            expires_at,
        )
        assert row is not None
        key = _key(row)
        # an edge may remember that there was no such key
        await _announce(connection, KeyChanged(key, minted.hash, version))
    return key, minted.plain


async def find_key(connection: Connection, digest: bytes) -> ApiKey | None:
    """The key of which this is the hash, revoked ones included: see `revoked_at`."""
    row = await connection.fetchrow(_SQL["find_key"], digest)
    return _key(row) if row else None


class Found(Struct, frozen=True):
    """A key with the account that it belongs to."""

    account: Account
    key: ApiKey


async def find_keys(connection: Connection, hashes: Sequence[bytes]) -> Mapping[bytes, Found]:
    """The keys with these hashes, as far as they are there, each with its account."""
    found = {}
    for row in await connection.fetch(_SQL["find_keys"], hashes):
        account = Account(
            id=row["account_id"],
            name=row["account_name"],
            created_at=row["account_created_at"],
            limits=msgspec.json.decode(row["limits"]),
            **{name: row[name] for name in _TERMS},
        )
        found[row["hash"]] = Found(account, _key(row))
    return found


async def list_keys(connection: Connection, account_id: UUID | None = None) -> Sequence[ApiKey]:
    """The keys of one account, or of all, oldest first and revoked ones included."""
    return [_key(row) for row in await connection.fetch(_SQL["list_keys"], account_id)]


async def revoke_key(connection: Connection, key_id: str) -> ApiKey | None:
    """Revoke a key, for good; the time of the first revocation stays.

    Returns:
        The key, or None where there is no such key.
    """
    return await _change_key(connection, key_id, "revoke_key")


async def rotate_key(
    connection: Connection, key_id: str, secret: bytes, *, overlap: timedelta
) -> tuple[ApiKey, str] | None:
    """Mint a key like another, which goes on working for a while.

    Returns:
        The new key's record, and the plain key; None where there is no such key.
    """
    async with connection.transaction():
        old = await _change_key(connection, key_id, "expire_key", datetime.now(UTC) + overlap)
        if old is None:
            return None
        return await create_key(connection, old.account_id, old.name, secret, scope=old.scope)


async def keys_used(connection: Connection, used: Mapping[str, datetime]) -> None:
    """Note when keys were last used; ids that there are not are passed over."""
    await connection.execute(_SQL["keys_used"], list(used), list(used.values()))


async def _change_key(
    connection: Connection, key_id: str, statement: str, *values: object
) -> ApiKey | None:
    account_id = await connection.fetchval(_SQL["owner_of_key"], key_id)
    if account_id is None:
        return None
    async with changing(connection, account_id) as version:
        row = await connection.fetchrow(_SQL[statement], key_id, *values)
        assert row is not None
        key = _key(row)
        await _announce(connection, KeyChanged(key, row["hash"], version))
    return key


async def _announce(connection: Connection, changed: KeyChanged) -> None:
    await announce(connection, changed.subject, accounts.encode(changed))


def _key(row: asyncpg.Record) -> ApiKey:
    return ApiKey(scope=tuple(row["scope"]), **{name: row[name] for name in _PLAIN})

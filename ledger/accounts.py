"""Reads and writes of accounts."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import asyncpg
from msgspec import Struct

from events.ids import new_id
from ledger import _sql
from ledger.db import Connection
from ledger.errors import AccountExists

_SQL = _sql.load("accounts.sql")


class Account(Struct, frozen=True, kw_only=True):
    """Who is billed."""

    id: UUID
    name: str
    created_at: datetime


async def create_account(
    connection: Connection, name: str, *, account_id: UUID | None = None
) -> Account:
    """Open an account, under a new id unless one is given.

    Raises:
        AccountExists: the given id is taken.
    """
    account_id = account_id or new_id()
    try:
        row = await connection.fetchrow(_SQL["create_account"], account_id, name)
    except asyncpg.UniqueViolationError as error:
        raise AccountExists(account_id) from error
    assert row is not None
    return Account(**row)


async def find_account(connection: Connection, account_id: UUID) -> Account | None:
    """The account with this id."""
    row = await connection.fetchrow(_SQL["find_account"], account_id)
    return Account(**row) if row else None


async def list_accounts(connection: Connection) -> Sequence[Account]:
    """Every account, oldest first."""
    return [Account(**row) for row in await connection.fetch(_SQL["list_accounts"])]

"""Reads and writes of accounts: their terms and their credit.

Whatever an edge must know of is announced in the transaction that changes it.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
from msgspec import Struct

from events import accounts as events
from events.accounts import Account, AccountChanged
from events.ids import new_id
from events.plans import DEFAULT
from ledger import _sql
from ledger.db import Connection
from ledger.errors import AccountExists, UnknownAccount
from ledger.outbox import announce

_SQL = _sql.load("accounts.sql")


class Credit(Struct, frozen=True, kw_only=True):
    """An amount granted, or taken back, and why. Billionths of the currency's unit."""

    id: UUID
    account_id: UUID
    amount: int
    reason: str
    created_at: datetime


async def create_account(
    connection: Connection, name: str, *, account_id: UUID | None = None, plan: str = DEFAULT
) -> Account:
    """Open an account, under a new id unless one is given.

    Raises:
        AccountExists: the given id is taken.
    """
    account_id = account_id or new_id()
    try:
        async with connection.transaction():
            await connection.execute(_SQL["create_account"], account_id, name, plan)
            return await _announce(connection, account_id)
    except asyncpg.UniqueViolationError as error:
        raise AccountExists(account_id) from error


async def find_account(connection: Connection, account_id: UUID) -> Account | None:
    """The account with this id."""
    row = await connection.fetchrow(_SQL["find_account"], account_id)
    return _account(row) if row else None


async def list_accounts(connection: Connection) -> Sequence[Account]:
    """Every account, oldest first."""
    return [_account(row) for row in await connection.fetch(_SQL["list_accounts"])]


@asynccontextmanager
async def changing(connection: Connection, account_id: UUID) -> AsyncIterator[int]:
    """A transaction in which something of an account changes.

    Yields:
        The account's next version.

    Raises:
        UnknownAccount: there is no such account.
    """
    async with connection.transaction():
        version = await connection.fetchval(_SQL["next_version"], account_id)
        if version is None:
            raise UnknownAccount(account_id)
        yield version


async def change_account(
    connection: Connection, account_id: UUID, changes: Mapping[str, Any]
) -> Account:
    """Change an account's terms, and announce them.

    Args:
        connection: Where.
        account_id: Whose.
        changes: The new values of `plan`, `limits`, `concurrency`, `monthly_budget` or
            `own_budget`; what is not named stays.

    Raises:
        UnknownAccount: there is no such account.
    """
    async with changing(connection, account_id):
        account = await find_account(connection, account_id)
        assert account is not None
        new = msgspec.structs.replace(account, **changes)
        await connection.execute(
            _SQL["change_account"],
            account_id,
            new.plan,
            msgspec.json.encode(new.limits).decode(),
            new.concurrency,
            new.monthly_budget,
            new.own_budget,
        )
        return await _announce(connection, account_id)


async def grant_credit(
    connection: Connection, account_id: UUID, amount: int, reason: str
) -> Credit:
    """Add to an account's credit, or take back with a negative amount, for a reason.

    Raises:
        UnknownAccount: there is no such account.
    """
    async with changing(connection, account_id):
        row = await connection.fetchrow(_SQL["grant_credit"], new_id(), account_id, amount, reason)
        assert row is not None
        await _announce(connection, account_id)
    return Credit(**row)


async def list_credits(
    connection: Connection, account_id: UUID, *, limit: int = 100
) -> Sequence[Credit]:
    """An account's credits and corrections, newest first."""
    return [
        Credit(**row) for row in await connection.fetch(_SQL["list_credits"], account_id, limit)
    ]


async def read_spent(connection: Connection, account_id: UUID) -> int:
    """What an account's usage has cost so far, in billionths, as far as it is folded."""
    spent: int = await connection.fetchval(_SQL["read_spent"], account_id)
    return spent


async def _announce(connection: Connection, account_id: UUID) -> Account:
    account = await find_account(connection, account_id)
    assert account is not None
    changed = AccountChanged(account)
    await announce(connection, changed.subject, events.encode(changed))
    return account


def _account(row: asyncpg.Record) -> Account:
    return Account(**{**row, "limits": msgspec.json.decode(row["limits"])})

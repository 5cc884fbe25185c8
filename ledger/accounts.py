"""Reads and writes of accounts: their terms and their credit.

Whatever an edge must know of is announced in the transaction that changes it.
"""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Final
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
from ledger.outbox import announce_all
from ledger.plan_changes import record_changes

_SQL = _sql.load("accounts.sql")

OPERATOR: Final = "operator"  # who changes terms, unless it is said


class LedgerAccount(Account, frozen=True, kw_only=True):
    """An account, and where its plan comes from: for operators, not for the wire."""

    operator_plan: str  # holds where a subscription gives no other
    stripe_plan: str | None
    stripe_customer: str | None


class Credit(Struct, frozen=True, kw_only=True):
    """An amount granted, or taken back, and why. Billionths of the currency's unit."""

    id: UUID
    account_id: UUID
    amount: int
    reason: str
    created_at: datetime


async def create_account(
    connection: Connection, name: str, *, account_id: UUID | None = None, plan: str = DEFAULT
) -> LedgerAccount:
    """Open an account, under a new id unless one is given.

    Raises:
        AccountExists: the given id is taken.
    """
    account_id = account_id or new_id()
    try:
        async with connection.transaction():
            await connection.execute(_SQL["create_account"], account_id, name, plan)
            return await _announce(connection, account_id, OPERATOR)
    except asyncpg.UniqueViolationError as error:
        raise AccountExists(account_id) from error


async def find_account(connection: Connection, account_id: UUID) -> LedgerAccount | None:
    """The account with this id."""
    row = await connection.fetchrow(_SQL["find_accounts"], [account_id])
    return _account(row) if row else None


async def list_accounts(connection: Connection) -> Sequence[LedgerAccount]:
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
    connection: Connection, account_id: UUID, changes: Mapping[str, Any], *, why: str = OPERATOR
) -> LedgerAccount:
    """Change an account's terms, announce them, and record that they changed.

    Args:
        connection: Where.
        account_id: Whose.
        changes: The new values of `plan` (the operator's choice of it), `limits`,
            `concurrency`, `monthly_budget` or `own_budget`; what is not named stays.
        why: Who changes them.

    Raises:
        UnknownAccount: there is no such account.
    """
    async with changing(connection, account_id):
        account = await find_account(connection, account_id)
        assert account is not None
        new = msgspec.structs.replace(account, **{"plan": account.operator_plan, **changes})
        await connection.execute(
            _SQL["change_account"],
            account_id,
            new.plan,
            msgspec.json.encode(new.limits).decode(),
            new.concurrency,
            new.monthly_budget,
            new.own_budget,
        )
        return await _announce(connection, account_id, why)


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
        await announce_accounts(connection, [account_id])
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


async def announce_accounts(
    connection: Connection, account_ids: Collection[UUID]
) -> Sequence[LedgerAccount]:
    """Have every edge told how these accounts are now; their versions were raised before."""
    rows = await connection.fetch(_SQL["find_accounts"], account_ids)
    found = [_account(row) for row in rows]
    changed = [AccountChanged(msgspec.convert(one, Account, from_attributes=True)) for one in found]
    await announce_all(connection, [(one.subject, events.encode(one)) for one in changed])
    return found


async def _announce(connection: Connection, account_id: UUID, why: str) -> LedgerAccount:
    (account,) = await announce_accounts(connection, [account_id])
    await record_changes(connection, {account_id: why})
    return account


def _account(row: asyncpg.Record) -> LedgerAccount:
    return LedgerAccount(**{**row, "limits": msgspec.json.decode(row["limits"])})

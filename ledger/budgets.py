"""Budgets that were reached, and who wants to be told."""

import base64
import secrets
from uuid import UUID

import asyncpg
from msgspec import Struct

from events import budgets
from events.budgets import BudgetReached
from ledger import _sql, outbox
from ledger.db import Connection
from ledger.errors import UnknownAccount

_SQL = _sql.load("budgets.sql")


class Webhook(Struct, frozen=True):
    """Where an account's events are posted, and what they are signed with."""

    url: str
    secret: str  # whsec_ and base64, as Standard Webhooks writes it

    def __repr__(self) -> str:
        return f"Webhook(url={self.url!r}, ...)"


async def note_reached(connection: Connection, reached: BudgetReached) -> bool:
    """Note that a budget was reached, and announce it if nobody did before.

    Returns:
        Whether this was the first to say so.
    """
    async with connection.transaction():
        first = await connection.fetchval(
            _SQL["note_reached"],
            reached.account_id,
            reached.budget,
            reached.window_start,
            reached.limit,
            reached.percent,
        )
        if first:
            await outbox.announce(connection, reached.subject, budgets.encode(reached))
    return bool(first)


async def set_webhook(connection: Connection, account_id: UUID, url: str | None) -> Webhook | None:
    """Post an account's events to a URL from now on, under a new secret; None: nowhere.

    Raises:
        UnknownAccount: there is no such account.
    """
    if url is None:
        await connection.execute(_SQL["drop_webhook"], account_id)
        return None
    webhook = Webhook(url, f"whsec_{base64.b64encode(secrets.token_bytes(24)).decode()}")
    try:
        await connection.execute(_SQL["set_webhook"], account_id, webhook.url, webhook.secret)
    except asyncpg.ForeignKeyViolationError as error:
        raise UnknownAccount(account_id) from error
    return webhook


async def find_webhook(connection: Connection, account_id: UUID) -> Webhook | None:
    """Where an account's events are posted."""
    row = await connection.fetchrow(_SQL["find_webhook"], account_id)
    return Webhook(**row) if row else None

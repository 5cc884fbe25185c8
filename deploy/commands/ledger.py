"""One connection to the ledger, for a command."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from msgspec import Struct

from deploy.environment import environment_for_commands, read_settings
from ledger.db import Connection, acquire, create_pool

T = TypeVar("T")


class LedgerSettings(Struct, frozen=True, kw_only=True):
    """What a command needs to reach the ledger."""

    database_url: str


def ask(question: Callable[[Connection], Awaitable[T]]) -> T:
    """Run a query of `ledger`'s on the database of TOLLGATE_DATABASE_URL."""

    async def run() -> T:
        settings = read_settings(LedgerSettings, environment_for_commands())
        async with create_pool(settings.database_url) as pool, acquire(pool) as connection:
            return await question(connection)

    return asyncio.run(run())

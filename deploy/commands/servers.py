"""The ledger and the broker, for a command."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from msgspec import Struct
from nats.aio.client import Client

from deploy.environment import environment_for_commands, read_settings
from deploy.errors import DeployError
from events import broker
from ledger.db import Connection, acquire, create_pool

T = TypeVar("T")

CONNECT_S = 5.0


class LedgerSettings(Struct, frozen=True, kw_only=True):
    """What a command needs to reach the ledger."""

    database_url: str


class BrokerSettings(Struct, frozen=True, kw_only=True):
    """What a command needs to reach the broker."""

    nats_url: str


class BrokerSilent(DeployError):
    """NATS does not answer."""


def ask(question: Callable[[Connection], Awaitable[T]]) -> T:
    """Run a query of `ledger`'s on the database of TOLLGATE_DATABASE_URL."""

    async def run() -> T:
        settings = read_settings(LedgerSettings, environment_for_commands())
        async with create_pool(settings.database_url) as pool, acquire(pool) as connection:
            return await question(connection)

    return asyncio.run(run())


def ask_both(question: Callable[[Connection, Client], Awaitable[T]]) -> T:
    """The same of the ledger and of the broker of TOLLGATE_NATS_URL."""

    async def run() -> T:
        environment = environment_for_commands()
        ledger = read_settings(LedgerSettings, environment)
        nats_url = read_settings(BrokerSettings, environment).nats_url
        async with (
            connected(nats_url, "tollgate-command") as nats,
            create_pool(ledger.database_url) as pool,
            acquire(pool) as connection,
        ):
            return await question(connection, nats)

    return asyncio.run(run())


@asynccontextmanager
async def connected(url: str, name: str, *, timeout_s: float = CONNECT_S) -> AsyncIterator[Client]:
    """A connection to NATS, closed afterwards.

    Raises:
        BrokerSilent: there is none in time.
    """
    try:
        async with asyncio.timeout(timeout_s):
            client = await broker.connect(url, name)
    except TimeoutError as error:
        raise BrokerSilent("no NATS server answers at TOLLGATE_NATS_URL") from error
    try:
        yield client
    finally:
        await client.close()

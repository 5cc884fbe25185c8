"""The ledger and the broker, for a command."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final, TypeVar

from msgspec import Struct
from nats.aio.client import Client
from nats.js.errors import APIError

from deploy.environment import environment_for_commands, read_settings
from deploy.errors import DeployError
from events import broker
from ledger.db import Connection, Pool, acquire, create_pool
from ledger.errors import NoStripeKey
from ledger.stripe.api import StripeApi

T = TypeVar("T")

CONNECT_S: Final = 5.0
NAME: Final = "tollgate-command"


class LedgerSettings(Struct, frozen=True, kw_only=True):
    """What a command needs to reach the ledger."""

    database_url: str


class BrokerSettings(Struct, frozen=True, kw_only=True):
    """What a command needs to reach the broker."""

    nats_url: str


class StripeSettings(Struct, frozen=True, kw_only=True):
    """What a command needs to ask Stripe."""

    stripe_api_key: str = ""
    stripe_api_base: str = ""


class BrokerSilent(DeployError):
    """NATS does not answer."""


class BrokerRefused(DeployError):
    """NATS would not do it."""


def ask_ledger(question: Callable[[Connection], Awaitable[T]]) -> T:
    """Run a query of `ledger`'s on the database of TOLLGATE_DATABASE_URL."""

    async def run() -> T:
        settings = read_settings(LedgerSettings, environment_for_commands())
        async with create_pool(settings.database_url) as pool, acquire(pool) as connection:
            return await question(connection)

    return asyncio.run(run())


def ask_broker(question: Callable[[Client], Awaitable[T]]) -> T:
    """Ask the broker of TOLLGATE_NATS_URL.

    Raises:
        BrokerSilent: there is none, or it does not let us in.
        BrokerRefused: it answered with an error of JetStream's.
    """

    async def run() -> T:
        settings = read_settings(BrokerSettings, environment_for_commands())
        async with connected(settings.nats_url, NAME) as client:
            return await question(client)

    return asyncio.run(run())


def ask_both(question: Callable[[Connection, Client], Awaitable[T]]) -> T:
    """Ask both; raises as `ask_broker`."""

    async def run() -> T:
        environment = environment_for_commands()
        ledger = read_settings(LedgerSettings, environment)
        settings = read_settings(BrokerSettings, environment)
        async with (
            connected(settings.nats_url, NAME) as client,
            create_pool(ledger.database_url) as pool,
            acquire(pool) as connection,
        ):
            return await question(connection, client)

    return asyncio.run(run())


def ask_perhaps_stripe(question: Callable[[Connection, StripeApi | None], Awaitable[T]]) -> T:
    """Ask the ledger, and Stripe where TOLLGATE_STRIPE_API_KEY is set."""

    async def run() -> T:
        ledger = read_settings(LedgerSettings, environment_for_commands())
        async with (
            stripe_if_known() as stripe,
            create_pool(ledger.database_url) as pool,
            acquire(pool) as connection,
        ):
            return await question(connection, stripe)

    return asyncio.run(run())


def ask_stripe(question: Callable[[Pool, StripeApi], Awaitable[T]]) -> T:
    """Ask Stripe, with the ledger at hand.

    Raises:
        NoStripeKey: TOLLGATE_STRIPE_API_KEY is not set.
    """

    async def run() -> T:
        ledger = read_settings(LedgerSettings, environment_for_commands())
        async with stripe_if_known() as stripe, create_pool(ledger.database_url) as pool:
            if stripe is None:
                raise NoStripeKey
            return await question(pool, stripe)

    return asyncio.run(run())


@asynccontextmanager
async def stripe_if_known() -> AsyncIterator[StripeApi | None]:
    """Stripe, where TOLLGATE_STRIPE_API_KEY is set."""
    settings = read_settings(StripeSettings, environment_for_commands())
    if not settings.stripe_api_key:
        yield None
        return
    stripe = StripeApi(settings.stripe_api_key, settings.stripe_api_base)
    try:
        yield stripe
    finally:
        await stripe.close()


@asynccontextmanager
async def connected(url: str, name: str, *, timeout_s: float = CONNECT_S) -> AsyncIterator[Client]:
    """A connection to NATS, closed afterwards.

    Raises:
        BrokerSilent: there is none in time.
        BrokerRefused: it answers with an error of JetStream's.
    """
    try:
        async with asyncio.timeout(timeout_s):
            client = await broker.connect(url, name)
    except TimeoutError as error:
        raise BrokerSilent("no NATS server answers at TOLLGATE_NATS_URL") from error
    try:
        yield client
    except APIError as error:
        raise BrokerRefused(error.description or str(error)) from error
    finally:
        await client.close()

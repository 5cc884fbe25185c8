"""One connection to the broker, for a command."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from msgspec import Struct
from nats.aio.client import Client
from nats.js.errors import APIError

from deploy.environment import environment_for_commands, read_settings
from deploy.errors import DeployError
from events import broker

CONNECT_S: Final = 5.0

T = TypeVar("T")


class BrokerSettings(Struct, frozen=True, kw_only=True):
    """What a command needs to reach the broker."""

    nats_url: str


class BrokerSilent(DeployError):
    """NATS does not answer."""


class BrokerRefused(DeployError):
    """NATS would not do it."""


def ask(question: Callable[[Client], Awaitable[T]]) -> T:
    """Ask the broker of TOLLGATE_NATS_URL.

    Raises:
        BrokerSilent: there is none, or it does not let us in.
        BrokerRefused: it answered with an error of JetStream's.
    """

    async def run() -> T:
        settings = read_settings(BrokerSettings, environment_for_commands())
        try:
            async with asyncio.timeout(CONNECT_S):
                client = await broker.connect(settings.nats_url, "tollgate-command")
        except TimeoutError as error:
            raise BrokerSilent("no NATS server answers at TOLLGATE_NATS_URL") from error
        try:
            return await question(client)
        except APIError as error:
            raise BrokerRefused(error.description or str(error)) from error
        finally:
            await client.close()

    return asyncio.run(run())

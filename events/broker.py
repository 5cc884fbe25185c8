"""Connecting to NATS, the same way everywhere."""

from collections.abc import Awaitable, Callable
from typing import Any, Final

import structlog
from nats.aio.client import Client

log = structlog.get_logger()

CONNECT_S: Final = 2.0


async def _nothing() -> None:
    pass


def options(name: str, *, on_reconnect: Callable[[], Awaitable[None]] = _nothing) -> dict[str, Any]:
    """Settings without which nats-py waits in the wrong places.

    It gives up after sixty attempts by default, keeps publishes of an outage and
    sends them once their callers have long gone, and takes six minutes to notice
    a link that is half open.
    """

    async def on_error(error: Exception) -> None:
        log.warning("nats_error", error=repr(error))

    async def reconnected() -> None:
        log.info("nats_reconnected")
        await on_reconnect()

    return {
        "name": name,
        "inbox_prefix": f"_INBOX.{name}",  # so that permissions can tell whose answers it hears
        "allow_reconnect": True,
        "max_reconnect_attempts": -1,
        "reconnect_time_wait": 0.25,
        "connect_timeout": CONNECT_S,
        "pending_size": 0,
        "ping_interval": 5,
        "max_outstanding_pings": 2,
        "error_cb": on_error,
        "reconnected_cb": reconnected,
    }


async def connect(
    url: str,
    name: str,
    *,
    client: Client | None = None,
    on_reconnect: Callable[[], Awaitable[None]] = _nothing,
) -> Client:
    """Connect, and stay connected through any outage.

    Waits for ever where no server answers yet; give it a timeout where that is wrong.

    Args:
        url: One or more servers, comma-separated; credentials in the URL.
        name: How the broker's monitoring shows this connection, and a token of its inboxes.
        client: The one to connect, where others hold it already; else a new one.
        on_reconnect: Called after each return of the broker.
    """
    connection = client or Client()

    async def on_disconnect() -> None:
        if not connection.is_closed:  # it is called for a close of our own, too
            log.warning("nats_disconnected")

    await connection.connect(
        url.split(","),
        disconnected_cb=on_disconnect,
        **options(name, on_reconnect=on_reconnect),
    )
    return connection


async def settle(connection: Client) -> None:
    """Wait until the broker has heard of every subscription made and ended so far.

    nats-py's `flush` overtakes them: its PING goes to the socket at once, and theirs
    wait for a task that writes. Whoever asks after one flush may find nobody, and
    `Subscription.drain`, which relies on one, drops what arrives meanwhile. A second
    PING is written after all of it.

    Raises:
        nats.errors.Error: the broker is away.
    """
    await connection.flush()
    await connection.flush()

"""Connecting to NATS, the same way everywhere."""

import ssl
from collections.abc import Awaitable, Callable
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import structlog
from nats.aio.client import Client
from nats.errors import SecureConnWantedError

from events.errors import BadBrokerUrl

log = structlog.get_logger()

CONNECT_S: Final = 2.0
TLS: Final = "tls"


class EncryptingClient(Client):
    """nats-py's, that keeps its password to itself where it was told to encrypt.

    Theirs encrypts if the server says so, before anybody knows which server that is.
    """

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:  # noqa: FBT001, FBT002 - as theirs
        server = self._current_server
        encrypts = bool(info.get("tls_required"))
        if initial_connection and server and server.uri.scheme == TLS and not encrypts:
            raise SecureConnWantedError
        await super()._process_info(info, initial_connection)


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
        url: One or more servers, comma-separated; credentials in the URL. With ``tls://``
            they have to encrypt, and to prove who they are: to the authorities that the
            system trusts, or to those of a file, ``tls://broker:4222?ca=/etc/ca.pem``.
        name: How the broker's monitoring shows this connection, and a token of its inboxes.
        client: The one to connect, where others hold it already; else a new one.
        on_reconnect: Called after each return of the broker.

    Raises:
        BadBrokerUrl: it asks for something else, or the file cannot be used.
    """
    connection = client or EncryptingClient()
    servers, tls = _read(url)

    async def on_disconnect() -> None:
        if not connection.is_closed:  # it is called for a close of our own, too
            log.warning("nats_disconnected")

    await connection.connect(
        servers,
        disconnected_cb=on_disconnect,
        tls=tls,
        **options(name, on_reconnect=on_reconnect),
    )
    return connection


def _read(url: str) -> tuple[list[str], ssl.SSLContext | None]:
    """The servers that a URL names, and what they have to prove."""
    parts = [urlsplit(server.strip()) for server in url.split(",")]
    asked = [parse_qs(part.query, keep_blank_values=True) for part in parts]
    files = {file for one in asked for file in one.get("ca", ())}
    if any(one.keys() - {"ca"} for one in asked) or len(files) > 1:
        raise BadBrokerUrl("all that may follow a `?` is `ca=FILE`, the same for all servers")
    servers = [part._replace(query="").geturl() for part in parts]
    if not any(part.scheme == TLS for part in parts):
        if files:
            raise BadBrokerUrl("`ca` is of servers that encrypt: write tls:// in place of nats://")
        return servers, None
    return servers, _trusting(files)


def _trusting(files: set[str]) -> ssl.SSLContext:
    file = next(iter(files), None)
    try:
        return ssl.create_default_context(cafile=file)
    except OSError as error:  # ssl.SSLError is one
        raise BadBrokerUrl(f"{file}: {error.strerror or error}") from error


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

"""The one way to post to a customer: signed, to the internet alone, and pinned.

A customer chooses the URL, and we send from inside our walls. So a name is resolved
once, all of its addresses have to be public, and the connection goes to one that was
looked at; no redirect is followed, and no proxy of the environment's is used.

Source: Standard Webhooks 1.0, https://www.standardwebhooks.com
"""

import asyncio
import base64
import hashlib
import hmac
import socket
import time
from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

import httpcore
import structlog
from msgspec import Struct

from consumers.errors import NotDelivered, Undeliverable
from events.webhooks import check_url, is_public

log = structlog.get_logger()

POST_S: Final = 10.0
RESOLVE_S: Final = 5.0

_TIMEOUTS: Final = {"connect": POST_S, "read": POST_S, "write": POST_S, "pool": POST_S}
_SUCCESS: Final = range(200, 300)


class Posting(Struct, frozen=True, kw_only=True):
    """One event on its way to one receiver."""

    url: str
    secret: str  # whsec_ and base64, as Standard Webhooks writes it
    id: str  # the same at each attempt
    body: bytes  # JSON
    until: float  # Unix seconds; what fails later is given up


class Poster:
    """Posts, if it may.

    Args:
        inside: Whether plain HTTP, and addresses that are not on the internet, are allowed.
    """

    def __init__(self, *, inside: bool) -> None:
        self._inside = inside

    async def post(self, posting: Posting) -> None:
        """Post an event once.

        Raises:
            NotDelivered: not this time.
            Undeliverable: never: the URL leads where nothing is posted, or time is over.
        """
        try:
            check_url(posting.url, inside=self._inside)
            async with asyncio.timeout(POST_S):
                status = await self._send(posting)
        except ValueError as error:
            host = _host(posting.url)
            raise Undeliverable(f"{host} is not posted to: {error}") from error
        except (httpcore.NetworkError, httpcore.TimeoutException, TimeoutError) as error:
            reason = repr(error)
        except (httpcore.ProtocolError, OSError) as error:
            reason = repr(error)
        else:
            if status in _SUCCESS:
                log.info("webhook_delivered", id=posting.id)
                return
            reason = f"it answered {status}"
        if time.time() > posting.until:
            raise Undeliverable(f"given up: {reason}")
        raise NotDelivered(reason)

    async def _send(self, posting: Posting) -> int:
        headers = signed(posting.secret, posting.id, posting.body, int(time.time()))
        async with (
            httpcore.AsyncConnectionPool(network_backend=_Pinned(self._inside)) as pool,
            pool.stream(
                "POST",
                posting.url,
                headers=list(headers.items()),
                content=posting.body,
                extensions={"timeout": _TIMEOUTS},
            ) as answer,
        ):
            return int(answer.status)  # what else it says is not read


class _Pinned(httpcore.AsyncNetworkBackend):
    """Connects to an address that was looked at; TLS still asks for the URL's name."""

    def __init__(self, inside: bool) -> None:  # noqa: FBT001 - of this module alone
        self._inside = inside
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's interface
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Resolve once, and connect to what came of that."""
        addresses = await _resolve(host, port)
        if not self._inside and not all(map(is_public, addresses)):
            raise ValueError(f"it leads to {', '.join(addresses)}, not to the internet alone")
        return await self._network.connect_tcp(
            addresses[0],
            port,
            timeout=timeout,
            local_address=local_address,
            socket_options=socket_options,
        )


def _host(url: str) -> str:
    """What of a URL is logged, and kept with what is parked: the rest may hold tokens."""
    try:
        return urlsplit(url).hostname or "its URL"
    except ValueError:
        return "its URL"


async def _resolve(host: str, port: int) -> list[str]:
    async with asyncio.timeout(RESOLVE_S):
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


def signed(secret: str, message_id: str, body: bytes, timestamp: int) -> dict[str, str]:
    """The headers by which a receiver knows that a webhook is ours, and new."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    content = b".".join((message_id.encode(), str(timestamp).encode(), body))
    signature = base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode()
    return {
        "content-type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{signature}",
    }

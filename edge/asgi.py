"""Raw ASGI: reading a body within bounds, waiting for an answer, and sending it in one go."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final
from uuid import UUID

from litestar.types import Receive, Scope, Send
from msgspec import Struct

from edge.errors import BodyTooLarge, CompressedBody, EdgeError
from edge.reading import FREE_BYTES, READING

Headers = Iterable[tuple[bytes, bytes]]

JSON: Final = b"application/json"
WHOLE: Final = "tollgate.whole"  # ASGI extensions of edge/server/http.py's
GONE: Final = "tollgate.gone"
CALLER_GONE: Final = 499  # the status of what nobody hears


class Answer(Struct, frozen=True):
    """A response that is no error."""

    body: bytes
    headers: Sequence[tuple[bytes, bytes]]
    request_id: UUID | None = None  # under which it is metered, where that is another
    status: int = 200


class CallerGone(Exception):
    """The caller hung up before there was an answer."""


def header(scope: Scope, name: bytes) -> str | None:
    """The first header called `name`, in lower case, as latin-1 text."""
    for key, value in scope["headers"]:
        if key == name:
            return value.decode("latin-1")
    return None


async def read_body(scope: Scope, receive: Receive, limit: int, account_id: UUID | None) -> bytes:
    """The whole body.

    Args:
        scope: The request's.
        receive: Its messages.
        limit: In bytes.
        account_id: Whose it is; None where no key says so.

    Raises:
        CompressedBody: it has a Content-Encoding.
        BodyTooLarge: it says, or turns out, to be over `limit` bytes.
        EdgeFull: too much is being read already; a small body is always read.
        CallerGone: the caller left.
    """
    _check_headers(scope, limit)
    message: Any = await receive()  # the union is checked by its "type"
    if message["type"] == "http.disconnect":
        raise CallerGone
    body: bytes = message["body"]
    if not message["more_body"]:
        return body
    return await _read_on(bytearray(body), receive, limit, account_id)


async def _read_on(
    body: bytearray,  # and no list: of pieces of two bytes it would be twenty times as large
    receive: Receive,
    limit: int,
    account_id: UUID | None,
) -> bytes:
    """The rest, too, of a body that is not all here."""
    held = 0
    try:
        while True:
            message: Any = await receive()
            if message["type"] == "http.disconnect":
                raise CallerGone
            body += message["body"]
            if len(body) > limit:
                raise too_large(limit)
            if not message["more_body"]:
                return bytes(body)
            if (more := len(body) - FREE_BYTES - held) > 0:
                READING.hold(account_id, more, limit=limit)
                held += more
    finally:
        READING.drop(account_id, held)


def _check_headers(scope: Scope, limit: int) -> None:
    """Refuse by what is announced, before a byte of it is read."""
    for key, value in scope["headers"]:
        if key == b"content-encoding" and value.strip().lower() not in {b"", b"identity"}:
            raise CompressedBody("send the body uncompressed, without Content-Encoding")
        if key == b"content-length" and int(value) > limit:  # digits: the server has seen to it
            raise too_large(limit)


def too_large(limit: int) -> EdgeError:
    """The refusal of a body over `limit` bytes."""
    return BodyTooLarge(f"send at most {limit:,} bytes; split the work over several requests")


async def respond(
    scope: Scope,
    send: Send,
    status: int,
    body: bytes,
    *,
    media_type: bytes = JSON,
    headers: Headers = (),
) -> None:
    """Send a whole response; in one piece, where the server can."""
    head = [
        (b"content-type", media_type),
        (b"content-length", b"%d" % len(body)),
        *headers,
    ]
    whole: Any = (scope.get("extensions") or {}).get(WHOLE)
    if whole is not None and scope.get("method") != "HEAD":  # to which there is no body
        await whole(status, head, body)
        return
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def until_gone(receive: Receive) -> None:
    """Return once the caller has hung up; its body must have been read."""
    while (await receive())["type"] != "http.disconnect":
        pass


class Presence:
    """Ends what is awaited inside it, with `CallerGone`, once the caller hangs up.

    Its body must have been read. On a server without the extension nobody is told.

    Args:
        scope: The request's; None where no caller waits.
    """

    __slots__ = ("_gone", "_task", "_watch")

    def __init__(self, scope: Scope | None) -> None:
        extensions: Any = (scope and scope.get("extensions")) or {}
        self._watch: Callable[[Callable[[], object] | None], bool] | None = extensions.get(GONE)
        self._task: asyncio.Task[Any] | None = None
        self._gone = False

    def __enter__(self) -> None:
        if self._watch is not None:
            self._task = asyncio.current_task()
            if not self._watch(self._leave):
                self._watch(None)
                raise CallerGone

    def __exit__(self, *_: object) -> None:
        if self._watch is not None:
            self._watch(None)
        if self._gone and self._task is not None and not self._task.uncancel():
            raise CallerGone

    def _leave(self) -> None:
        if self._task is not None:
            self._gone = True
            self._task.cancel()

"""uvicorn's HTTP, with answers that leave in one piece, also to what is not HTTP."""

from collections.abc import Callable, Iterable
from typing import Any

from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from edge import problem
from edge.asgi import GONE, WHOLE
from edge.errors import MalformedRequest
from events.ids import new_id


class Protocol(HttpToolsProtocol):
    """uvicorn's own, except for what it says to bytes that it cannot parse.

    Requests carry an extension, `edge.asgi.WHOLE`, that sends head and body at once:
    one system call and one segment in place of two, and no second look at headers that
    we have made ourselves. It was a tenth of what a request costs the edge.

    Another, `edge.asgi.GONE`, calls back when the caller hangs up: to await `receive` for
    that while something else is awaited would take a second task for each request.

    Of requests that are sent ahead the first one runs, and uvicorn tells the last one that
    the caller is gone: a stream would run on, and be billed, to its end.
    """

    _when_gone: Callable[[], object] | None = None
    _runs: RequestResponseCycle | None = None

    def on_headers_complete(self) -> None:
        """Let the request know how to be answered in one piece."""
        before = self.cycle
        super().on_headers_complete()
        if self.cycle is not before:
            whole: Any = _Whole(self.cycle)  # an extension need not be a dictionary
            watch: Any = self._watch
            self.scope["extensions"] = {WHOLE: whole, GONE: watch}
            if before is None or before.response_complete:
                self._runs = self.cycle

    def on_response_complete(self) -> None:
        """Know which one runs next."""
        if self.pipeline:
            self._runs = self.pipeline[-1][0]
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the request that runs."""
        super().connection_lost(exc)
        if self._runs is not None and not self._runs.response_complete:
            self._runs.disconnected = True
            self._runs.message_event.set()
        if self._when_gone is not None:
            self._when_gone()

    def _watch(self, when_gone: Callable[[], object] | None) -> bool:
        """Call this when the caller hangs up, instead of what was to be called; is it there?

        Of the requests that a caller sends ahead only the first one runs.
        """
        self._when_gone = when_gone
        if when_gone is not None:
            self.flow.resume_reading()  # after a large body: nobody hears while nothing is read
        return self.parser is not None

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP, and hang up."""
        request_id = new_id()
        body = problem.body(MalformedRequest(f"{msg.rstrip('.')}"), request_id)
        head = (
            "HTTP/1.1 400 Bad Request\r\n"
            f"content-type: {problem.MEDIA_TYPE}\r\n"
            f"content-length: {len(body)}\r\n"
            f"x-request-id: {request_id}\r\n"
            "connection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()


class _Whole:
    """Sends one request's response."""

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle

    async def __call__(
        self, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes
    ) -> None:
        cycle = self._cycle
        if cycle.flow.write_paused and not cycle.disconnected:
            await cycle.flow.drain()
        if cycle.disconnected:
            return
        cycle.response_started = cycle.response_complete = True
        cycle.waiting_for_100_continue = False
        head = [STATUS_LINE[status]]
        for name, value in (*cycle.default_headers, *headers):
            head += (name, b": ", value, b"\r\n")
        if not cycle.keep_alive:
            head.append(b"connection: close\r\n")
        cycle.transport.write(b"".join((*head, b"\r\n", body)))
        cycle.message_event.set()
        if not cycle.keep_alive:
            cycle.transport.close()
        cycle.on_response()

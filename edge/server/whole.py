"""Sending head and body of an answer at once: see `edge/server/http.py`."""

from collections.abc import Iterable
from typing import ClassVar

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle


class Whole:
    """Sends one request's response."""

    _defaults: ClassVar[list[tuple[bytes, bytes]]] = []
    _lines: ClassVar[bytes] = b""  # the same as they are sent; uvicorn makes them anew each second

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle

    async def __call__(
        self, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes
    ) -> None:
        """Send it, once what is before it is on its way."""
        cycle = self._cycle
        if cycle.flow.write_paused and not cycle.disconnected:
            await cycle.flow.drain()
        if cycle.disconnected:
            return
        cycle.response_started = cycle.response_complete = True
        cycle.waiting_for_100_continue = False
        if cycle.default_headers is not Whole._defaults:
            Whole._defaults = cycle.default_headers
            Whole._lines = b"".join(b"%s: %s\r\n" % header for header in Whole._defaults)
        lines = [STATUS_LINE[status], Whole._lines]
        for name, value in headers:
            lines += (name, b": ", value, b"\r\n")
        if not cycle.keep_alive:
            lines.append(b"connection: close\r\n")
        cycle.transport.write(b"".join((*lines, b"\r\n", body)))
        cycle.message_event.set()
        if not cycle.keep_alive:
            cycle.transport.close()
        cycle.on_response()

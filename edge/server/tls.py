"""Connections that are encrypted, from their first byte on."""

import asyncio
import ssl
from collections.abc import Coroutine, Generator
from contextlib import suppress
from math import inf
from typing import Any

from uvicorn import Config
from uvicorn.server import ServerState

from edge.errors import EdgeError
from edge.server.connections import STATE, Connections
from edge.server.http import Protocol


def open_connection(
    config: Config,
    server_state: ServerState,
    app_state: dict[str, Any],
    _loop: asyncio.AbstractEventLoop | None = None,
) -> asyncio.Protocol:
    """What uvicorn is to hand a new connection to."""
    protocol = Protocol(config, server_state, app_state, _loop)
    certificate = app_state[STATE].certificate
    return Handshake(protocol, certificate.context) if certificate else protocol


class Handshake(asyncio.Protocol):
    """A connection until it is encrypted; then it is `protocol`'s.

    uvicorn's own TLS shows a connection only after that: it would not be counted, and
    could take a minute over it.
    """

    def __init__(self, protocol: Protocol, context: ssl.SSLContext) -> None:
        self._protocol = protocol
        self._context = context
        self._open: Connections = protocol.app_state[STATE]
        self._since = self._open.now
        self._early = b""
        self._lost = False
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:  # noqa: ANN401 - one that can do TLS
        """Take a connection that just opened, if there is room."""
        peer = transport.get_extra_info("peername")
        try:
            self._open.join(self, peer[0] if isinstance(peer, tuple) else "")
        except EdgeError:  # in clear text it would be understood by nobody
            transport.abort()
            return
        transport.pause_reading()  # what comes is for TLS
        self._transport = transport
        self._protocol.connections.add(self)  # type: ignore[arg-type] # it can be shut down, too
        # begun here and now: uvloop reads on after this, paused or not, and what it reads is TLS's
        begun = _Begun(
            self._protocol.loop.start_tls(
                transport,
                self,
                self._context,
                server_side=True,
                ssl_handshake_timeout=self._open.settings.head_s,
                ssl_shutdown_timeout=inf,  # or it cuts off who reads slowly; `look` sees to it
            )
        )
        task = self._protocol.loop.create_task(self._shake_hands(begun))
        self._protocol.tasks.add(task)
        task.add_done_callback(self._protocol.tasks.discard)

    def data_received(self, data: bytes) -> None:
        """Keep what comes right behind the handshake."""
        self._early += data

    def connection_lost(self, _: Exception | None) -> None:
        """Forget it."""
        self._lost = True

    def shutdown(self) -> None:
        """Let go of it: there is no request yet."""
        self._transport.abort()

    def look(self, _: float) -> None:
        """Nothing: the handshake has its own deadline."""

    async def _shake_hands(self, begun: "_Begun") -> None:
        encrypted: Any = None
        try:
            with suppress(OSError):  # ssl.SSLError and TimeoutError are such
                encrypted = await begun
        finally:
            self._protocol.connections.discard(self)
            if encrypted is None or self._lost:
                self._open.leave(self)
                self._transport.abort()
        if encrypted is None or self._lost:
            return
        encrypted.set_protocol(self._protocol)
        self._protocol.take_over(encrypted, self._transport, self, self._since)
        if self._early:
            self._protocol.data_received(self._early)


class _Begun:
    """A coroutine that has run to where it first waits; to be awaited for the rest."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._coroutine = coroutine
        self._waits = coroutine.send(None)

    def __await__(self) -> Generator[Any, Any, Any]:
        waits = self._waits
        while True:
            try:
                try:
                    sent = yield waits
                except BaseException as error:  # noqa: BLE001 - as `yield from` does
                    waits = self._coroutine.throw(error)
                else:
                    waits = self._coroutine.send(sent)
            except StopIteration as end:
                return end.value

"""uvicorn's HTTP, made for the open internet.

Answers leave in one piece, what is not HTTP is refused in the one shape of all errors, and
callers have only so much room and time: `edge/server/connections.py` looks at each every second.
"""

import fcntl
import socket
import termios
from array import array
from collections.abc import Callable
from math import inf
from typing import Any, Final

import httptools
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from edge import metrics, problem
from edge.asgi import GONE, WHOLE
from edge.errors import EdgeError, MalformedRequest, RequestTooSlow
from edge.server import head
from edge.server.connections import STATE, Connections
from edge.server.whole import Whole
from events.ids import new_id

SLACK_BYTES: Final = 2**18  # what one read may bring; a head is measured when it is whole

AHEAD: Final = 8  # requests of one connection that wait; more stay with the kernel

LINGER_S: Final = 2.0  # for a refusal to be read: who closes at once takes it back
BODY_RATE: Final = 16 * 2**10  # bytes a second that a body must have, after its first seconds
READ_RATE: Final = 2**10  # and that an answer must be read at

#: Of an answer, before what is on its way is taken. The kernel would take up to four megabytes
#: off our hands, and copying them for callers that read nothing held up all others.
UNSENT_BYTES: Final = 2**17


class Protocol(HttpToolsProtocol):
    """uvicorn's own, except for who is refused, and how answers are sent.

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

    _below: Any  # the transport that has the socket: below TLS another one
    _open: Connections
    _flow: "_Flow"
    _due = inf  # until when what it waits for must be here, by the connections' clock
    _receiving = False  # from a request's first byte to its last
    _refused = False
    _deaf = False  # nothing more is parsed
    _raw = 0  # bytes of a body that the parser does not look at
    _arrived = 0  # bytes in which there was nothing of a body, up to the last read
    _read = 0  # bytes of this read
    _body = 0  # bytes of this request's body
    _body_since = inf
    _lingering = False  # the last answer is written, and the request not in, or we hang up
    _stuck: tuple[float, int] | None = None  # since when too little was taken, and of how much
    _took = False  # some of it, since the last look

    def connection_made(self, transport: Any) -> None:  # noqa: ANN401 - as uvicorn has it
        """Take a connection that just opened, if there is room."""
        self._enter(transport, transport)
        try:
            self._open.join(self, self.client[0] if self.client else "")
        except EdgeError as error:
            self._refuse(error)
            self.transport.close()  # nobody looks after it

    def take_over(
        self,
        transport: Any,  # noqa: ANN401 - of either kind of loop
        below: Any,  # noqa: ANN401 - the same
        before: Any,  # noqa: ANN401 - whoever had it
        since: float,
    ) -> None:
        """Take a connection that `before` has opened `since`, and encrypted above `below`."""
        self._enter(transport, below)
        self._open.hand_over(before, self)
        self._due = since + self._open.settings.head_s

    def _enter(self, transport: Any, below: Any) -> None:  # noqa: ANN401 - as above
        self._below = below
        below.get_extra_info("socket").setsockopt(
            socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES
        )
        super().connection_made(transport)
        self.flow = self._flow = _Flow(transport)
        self._open = self.app_state[STATE]
        self._due = self._open.now + self._open.settings.head_s

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the request that runs."""
        self._open.leave(self)
        super().connection_lost(exc)
        self._end(self._runs)
        if self._when_gone is not None:
            self._when_gone()

    def data_received(self, data: bytes) -> None:
        """Read on, within bounds."""
        if self._deaf:
            if self._raw:
                self._take(data)
            return
        self._read, body = len(data), self._body
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:  # to what we do not speak: let it be
            self.cycle.keep_alive = False
            self._deaf = True
            self._take(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            cause = error.__context__  # what one of the callbacks below raised
            refused = cause if isinstance(cause, EdgeError) else None
            self._refuse(refused or MalformedRequest("this is not valid HTTP/1.1"))
        else:
            if self._receiving:
                self._arrived = self._read + (self._arrived if self._body == body else 0)
                if self._arrived > head.HEAD_BYTES + SLACK_BYTES:  # of a head, or around a body
                    self._refuse(head.too_large())

    def on_message_begin(self) -> None:
        """Expect a head."""
        super().on_message_begin()
        self._receiving = True
        self._arrived = self._body = 0
        self._body_since = inf
        if self.cycle is not None:  # the first one is expected from the connection on
            self._due = self._open.now + self._open.settings.head_s

    def on_headers_complete(self) -> None:
        """Check the head, and let the request know how to be answered in one piece."""
        head.check(self.parser.get_http_version(), self.url, self.headers)
        if self._arrived + self._read > head.HEAD_BYTES:
            head.check_size(self.url, self.headers)
        if self.parser.should_upgrade():
            self._raw = head.length_before_upgrade(self.headers)
        self._body_since = self._open.now
        self._due = self._body_since + self._open.settings.body_s
        before = self.cycle
        super().on_headers_complete()
        self.headers = []  # trailers are not the application's: they come after the checks
        whole: Any = Whole(self.cycle)  # an extension need not be a dictionary
        watch: Any = self._watch
        self.scope["extensions"] = {WHOLE: whole, GONE: watch}
        if before is None or before.response_complete:
            self._runs = self.cycle
        self._flow.full = len(self.pipeline) >= AHEAD

    def on_body(self, body: bytes) -> None:
        """Count what comes."""
        self._body += len(body)
        super().on_body(body)

    def _take(self, data: bytes) -> None:
        """Read a body that the parser takes for another protocol's."""
        body = data[: self._raw]
        if body:
            self._raw -= len(body)
            self.on_body(body)
            if not self._raw:
                self.on_message_complete()

    def on_message_complete(self) -> None:
        """Wait for the answer, which has deadlines of its own."""
        if self._raw:
            return
        super().on_message_complete()
        self._receiving = False
        idle = self.cycle.response_complete
        self._due = self._open.now + self._open.settings.keep_alive_s if idle else inf
        self._lingering = False

    def on_response_complete(self) -> None:
        """Know which one runs next.

        As uvicorn's, without a timer of its own for each answer.
        """
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            self._linger()
            return
        self._flow.full = len(self.pipeline) > AHEAD
        self.flow.resume_reading()
        if self.pipeline:
            self._runs, app = self.pipeline.pop()
            self._start_asgi_task(self._runs, app)
        elif not self._receiving:
            self._due = self._open.now + self._open.settings.keep_alive_s
        elif self.cycle.response_complete:
            self._lingering = True
            self._due = min(self._due, self._open.now + LINGER_S)

    def shutdown(self) -> None:
        """Hang up, after the answer."""
        super().shutdown()
        if self.cycle is None or self.cycle.response_complete:
            self._linger()

    def _linger(self) -> None:
        """See that a connection which is being closed ends, once what waits is sent."""
        self._lingering = True
        self._due = self._open.now + LINGER_S

    def resume_writing(self) -> None:
        """Go on: the caller takes what it gets."""
        self._took = True
        super().resume_writing()

    def look(self, now: float) -> None:
        """Close what has taken too long."""
        waits = self._waiting()
        self._look_at_answer(now, waits)
        last = self._refused or self._lingering
        if now < self._due or self._below.is_closing() or (self.flow.read_paused and not last):
            return
        if waits and (last or not self._receiving):  # it is neither done nor idle
            self._due = now + (LINGER_S if last else self._open.settings.keep_alive_s)
        elif last:
            self.transport.abort()  # the answer is out; what still comes is not read
        elif not self._receiving:
            self.transport.close()  # a caller that says nothing is told nothing
            self._linger()
        elif self._body_since == inf:
            self._refuse(RequestTooSlow("send a request's head faster"))
        elif now < (
            until := self._body_since + self._open.settings.body_s + self._body / BODY_RATE
        ):
            self._due = until
        else:
            self._refuse(RequestTooSlow("send a request's body faster"))

    def _waiting(self) -> int:
        """Bytes that we have written and the kernel has not taken.

        uvloop's TLS knows of none that it has encrypted.
        """
        waits: int = self.transport.get_write_buffer_size()
        if self._below is not self.transport:
            waits += self._below.get_write_buffer_size()
        return waits

    def _look_at_answer(self, now: float, waits: int) -> None:
        """Break the connection if the caller takes nothing, or next to nothing, of an answer.

        Of a stream that is not held back nothing is known: what goes adds up with what comes.
        """
        took, self._took = self._took, False
        runs = self._runs is not None and not self._runs.response_complete
        if took or not waits or (runs and not self.flow.write_paused):
            self._stuck = None
            return
        unsent = waits + _with_the_kernel(self._below)
        if self._stuck is None:
            self._stuck = now, unsent
            return
        since, before = self._stuck
        if before - unsent >= READ_RATE * (now - since):
            self._stuck = now, unsent
            return
        if now >= since + self._open.settings.unread_s:
            metrics.CUT_OFF.labels("answer_not_read").inc()
            self.transport.abort()

    def _end(self, cycle: RequestResponseCycle | None) -> None:
        """Tell a request that its caller is gone."""
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True
            cycle.waiting_for_100_continue = False  # or it would be told to after our last word
            cycle.message_event.set()

    def _watch(self, when_gone: Callable[[], object] | None) -> bool:
        """Call this when the caller hangs up, instead of what was to be called; is it there?

        Of the requests that a caller sends ahead only the first one runs.
        """
        self._when_gone = when_gone
        if when_gone is not None:
            self.flow.resume_reading()  # after a large body: nobody hears while nothing is read
        return self.parser is not None and not self._refused

    def _refuse(self, error: EdgeError) -> None:
        """Say what is wrong, if that cannot be taken for another request's answer, and hang up."""
        metrics.CUT_OFF.labels(error.code).inc()
        runs = self._runs if self._runs and not self._runs.response_complete else None
        self._refused = self._deaf = True
        self._end(runs)
        if runs is not None and (runs.response_started or runs.more_body is False):
            self.transport.close()
            self._linger()
            return
        request_id = new_id()
        body = problem.body(error, request_id)
        headers = [
            *self.server_state.default_headers,
            (b"content-type", problem.MEDIA_TYPE.encode()),
            (b"content-length", b"%d" % len(body)),
            (b"x-request-id", str(request_id).encode()),
            (b"connection", b"close"),
            *problem.headers(error),
        ]
        lines = [b"%s: %s\r\n" % header for header in headers]
        self.transport.write(b"".join((STATUS_LINE[error.status], *lines, b"\r\n", body)))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        else:
            self.transport.close()
        self._linger()


class _Flow(FlowControl):
    """uvicorn's own, which reads on with each answer, however many requests wait already."""

    full = False

    def resume_reading(self) -> None:
        """Read on, if there is room."""
        if not self.full:
            super().resume_reading()


def _with_the_kernel(transport: Any) -> int:  # noqa: ANN401 - of either kind of loop
    """Bytes that we have sent and the caller has not taken.

    The kernel holds what is on its way, and asks for more only when a part of it is gone: by
    our own buffer alone, slow readers would look like those that do not read.

    Source: SIOCOUTQ, tcp(7).
    """
    found = array("i", [0])
    fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, found)
    return found[0]

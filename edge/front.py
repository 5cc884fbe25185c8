"""The outermost layer: every request gets an id, every response carries it.

Inference requests and Stripe's events go straight to where they are answered. Litestar
2.25 cannot route raw ASGI by path parameters, and its own kind of handler costs more than
the rest of the road; all other requests are Litestar's.
"""

import time
from collections.abc import Awaitable, Sequence
from functools import lru_cache
from typing import Any, Final
from uuid import UUID

import structlog
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from edge import metrics, problem
from edge.asgi import CALLER_GONE, WHOLE, Answer, CallerGone, respond
from edge.cors import ENDPOINT as PREFLIGHT
from edge.cors import Cors
from edge.errors import EdgeError, Internal, NotFound
from edge.gate import TASK, GateRoute, is_gate
from edge.route import InferenceRoute
from edge.server.connections import STATE, Connections
from edge.stream import Stream
from edge.stripe.intake import NAME as INTAKE
from edge.stripe.intake import PATH as INTAKE_PATH
from edge.stripe.intake import Intake
from events.ids import new_id

log = structlog.get_logger()

_Headers = Sequence[tuple[bytes, bytes]]

NO_STORE: Final = (b"cache-control", b"no-store")  # answers are for whoever holds the key
HTML: Final = b"text/html"
#: What a browser is to run of our pages: our own files, and nothing else.
POLICY: Final = (
    b"default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    b"img-src 'self' data:; font-src 'self'; connect-src 'self'; "
    b"form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
_EMPTY: Final = frozenset({204, 304})  # statuses whose answers have no body
NO_ENDPOINT: Final = "none"  # one label for all paths that lead nowhere: metrics stay bounded


class Front:
    """The application as the server sees it."""

    def __init__(
        self,
        route: InferenceRoute,
        gate: GateRoute | None,
        intake: Intake | None,
        app: ASGIApp,
        *,
        cors: Cors,
        connections: Connections,
    ) -> None:
        self._route = route
        self._gate = gate
        self._intake = intake
        self._app = app
        self._cors = cors
        self._connections = connections

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, whatever happens inside."""
        if scope["type"] != ScopeType.HTTP:
            scope["state"][STATE] = self._connections  # for the server, before it takes any
            await self._app(scope, receive, send)
            return
        request_id = new_id()
        started = time.perf_counter()
        extra = self._cors.headers(scope)
        if (preflight := self._cors.preflight(scope)) is not None:
            endpoint, status = PREFLIGHT, 204
            await _send_empty(send, status, [_id(request_id), *preflight])
        elif dialect := self._route.dialect(scope["raw_path"]):
            endpoint = dialect.label
            answering = self._route.answer(dialect, request_id, scope, receive)
            status = await _answer(answering, request_id, scope, receive, send, extra=extra)
        elif self._intake is not None and scope["path"] == INTAKE_PATH:
            endpoint, answering = INTAKE, self._intake.answer(scope, receive)
            status = await _answer(answering, request_id, scope, receive, send, extra=extra)
        elif self._gate is not None and is_gate(scope["raw_path"]):
            endpoint = TASK
            answering = self._gate.answer(request_id, scope)
            status = await _answer(answering, request_id, scope, receive, send, extra=extra)
        elif len(scope["path"]) > 1 and scope["path"].endswith("/"):
            endpoint, answering = NO_ENDPOINT, _slash_too_many()
            status = await _answer(answering, request_id, scope, receive, send, extra=extra)
        else:
            status = await self._delegate(request_id, scope, receive, send, extra=extra)
            handler = scope.get("route_handler")
            endpoint = handler.opt.get("endpoint", NO_ENDPOINT) if handler else NO_ENDPOINT
        _requests(endpoint, status).inc()
        _seconds(endpoint).observe(time.perf_counter() - started)

    async def _delegate(
        self, request_id: UUID, scope: Scope, receive: Receive, send: Send, *, extra: _Headers
    ) -> int:
        """Let Litestar answer; what goes wrong in there is answered in there."""
        scope.setdefault("state", {})["request_id"] = request_id
        whole: Any = (scope.get("extensions") or {}).get(WHOLE)
        head: Any = None  # until there is a body: the two leave together
        status = CALLER_GONE

        async def send_with_id(message: Message) -> None:
            nonlocal status, head
            if message["type"] == "http.response.start":
                status = message["status"]
                head = message
                head["headers"] = _completed([*message["headers"], _id(request_id), *extra])
                return
            if head is not None:
                start, head = head, None
                if whole is not None and _is_whole(scope, start, message):
                    await whole(status, start["headers"], message.get("body", b""))
                    return
                await send(start)
            await send(message)

        await self._app(scope, receive, send_with_id)
        return status


# the library makes text of every label, and takes a lock, each time that it is asked
_requests = lru_cache(1_000)(metrics.REQUESTS.labels)
_seconds = lru_cache(1_000)(metrics.SECONDS.labels)


async def _answer(
    answering: Awaitable[Answer | Stream],
    request_id: UUID,
    scope: Scope,
    receive: Receive,
    send: Send,
    *,
    extra: _Headers,
) -> int:
    """Send an answer, or what there is instead of one; the status that it came to."""
    try:
        answer = await answering
    except CallerGone:
        return CALLER_GONE
    except EdgeError as error:
        failure = error
    except Exception as error:  # the boundary: a bug must not take the connection down
        log.exception("unforeseen", request_id=str(request_id))
        failure = Internal("something broke; quote the request id to us")
        failure.__cause__ = error
    else:
        if isinstance(answer, Stream):
            await answer.deliver([_id(request_id), *extra], receive, send)
            return 200
        await respond(
            scope,
            send,
            answer.status,
            answer.body,
            headers=[_id(answer.request_id or request_id), *extra, NO_STORE, *answer.headers],
        )
        return answer.status
    await respond(
        scope,
        send,
        failure.status,
        problem.body(failure, request_id),
        media_type=problem.MEDIA_TYPE.encode(),
        headers=[_id(request_id), *extra, NO_STORE, *problem.headers(failure)],
    )
    return failure.status


async def _slash_too_many() -> Answer:
    """One path for each thing: Litestar would take two, and others redirect."""
    raise NotFound("there is no such route; leave out the slash at its end")


async def _send_empty(send: Send, status: int, headers: _Headers) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def _is_whole(scope: Scope, head: Any, body: Any) -> bool:  # noqa: ANN401 - ASGI's messages
    """Whether an answer can leave in one piece: it is all there, and says how long it is."""
    if body["type"] != "http.response.body" or body.get("more_body"):
        return False
    sized = any(name.lower() == b"content-length" for name, _ in head["headers"])
    return scope.get("method") != "HEAD" and (sized or head["status"] in _EMPTY)


def _completed(headers: list[tuple[bytes, bytes]]) -> _Headers:
    """The headers of an answer of Litestar's, with what it did not say itself."""
    said = dict(headers)
    if b"cache-control" not in said:
        headers.append(NO_STORE)
    if said.get(b"content-type", b"").startswith(HTML):
        headers.append((b"content-security-policy", POLICY))
    return headers


def _id(request_id: UUID) -> tuple[bytes, bytes]:
    return b"x-request-id", str(request_id).encode()

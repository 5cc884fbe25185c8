"""The outermost layer: every request gets an id, every response carries it.

Inference requests go straight to their route. Litestar 2.25 cannot route raw ASGI by
path parameters, and its own kind of handler costs more than the rest of the road; all
other requests are Litestar's.
"""

import time
from collections.abc import Awaitable
from functools import lru_cache
from typing import Final
from uuid import UUID

import structlog
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from edge import metrics, problem
from edge.asgi import Answer, CallerGone, respond
from edge.errors import EdgeError, Internal
from edge.gate import TASK, GateRoute, is_gate
from edge.route import InferenceRoute
from edge.stream import Stream
from events.ids import new_id

log = structlog.get_logger()

NO_ENDPOINT: Final = "none"  # one label for all paths that lead nowhere: metrics stay bounded
CALLER_GONE: Final = 499  # for the metrics; nobody hears it


class Front:
    """The application as the server sees it."""

    def __init__(self, route: InferenceRoute, gate: GateRoute | None, app: ASGIApp) -> None:
        self._route = route
        self._gate = gate
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, whatever happens inside."""
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        request_id = new_id()
        started = time.perf_counter()
        if dialect := self._route.dialect(scope["raw_path"]):
            endpoint = dialect.label
            answering = self._route.answer(dialect, request_id, scope, receive)
            status = await _answer(answering, request_id, scope, receive, send)
        elif self._gate is not None and is_gate(scope["raw_path"]):
            endpoint = TASK
            answering = self._gate.answer(request_id, scope)
            status = await _answer(answering, request_id, scope, receive, send)
        else:
            status = await self._delegate(request_id, scope, receive, send)
            handler = scope.get("route_handler")
            endpoint = handler.opt.get("endpoint", NO_ENDPOINT) if handler else NO_ENDPOINT
        _requests(endpoint, status).inc()
        _seconds(endpoint).observe(time.perf_counter() - started)

    async def _delegate(self, request_id: UUID, scope: Scope, receive: Receive, send: Send) -> int:
        """Let Litestar answer; what goes wrong in there is answered in there."""
        scope.setdefault("state", {})["request_id"] = request_id
        status = CALLER_GONE

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], _id(request_id)]
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
            await answer.deliver([_id(request_id)], receive, send)
            return 200
        await respond(
            scope,
            send,
            answer.status,
            answer.body,
            headers=[_id(answer.request_id or request_id), *answer.headers],
        )
        return answer.status
    await respond(
        scope,
        send,
        failure.status,
        problem.body(failure, request_id),
        media_type=problem.MEDIA_TYPE.encode(),
        headers=[_id(request_id), *problem.headers(failure)],
    )
    return failure.status


def _id(request_id: UUID) -> tuple[bytes, bytes]:
    return b"x-request-id", str(request_id).encode()

"""Whatever a handler, or Litestar itself, raises: answered in the one shape of all errors."""

from typing import Any

import structlog
from litestar import Request, Response
from litestar.exceptions import (
    HTTPException,
    MethodNotAllowedException,
    NotFoundException,
    ValidationException,
)

from edge import problem
from edge.asgi import CALLER_GONE, CallerGone
from edge.errors import (
    EdgeError,
    Internal,
    InvalidParameter,
    LedgerAway,
    MalformedRequest,
    MethodNotAllowed,
    NotFound,
)
from ledger.errors import LedgerUnavailable, UnknownAccount

log = structlog.get_logger()


def _answer_error(request: Request[Any, Any, Any], error: EdgeError) -> Response[bytes]:
    request_id = request.scope["state"]["request_id"]
    return Response(
        problem.body(error, request_id),
        status_code=error.status,
        media_type=problem.MEDIA_TYPE,
        headers={key.decode(): value.decode() for key, value in problem.headers(error)},
    )


def _not_found(request: Request[Any, Any, Any], _: Exception) -> Response[bytes]:
    return _answer_error(request, NotFound("there is no such route; see /docs"))


def _method_not_allowed(
    request: Request[Any, Any, Any], error: MethodNotAllowedException
) -> Response[bytes]:
    allow = (error.headers or {})["allow"]
    message = f"send {allow}; see /docs for the methods of this route"
    return _answer_error(request, MethodNotAllowed(message, allow=allow))


def _invalid(request: Request[Any, Any, Any], error: ValidationException) -> Response[bytes]:
    found = error.extra if isinstance(error.extra, list) else []
    first: dict[str, Any] = found[0] if found and isinstance(found[0], dict) else {}
    param = _query_name(request, first.get("key"))
    said = first.get("message", error.detail)
    message = f"{param}: {said}" if param else str(said)
    return _answer_error(request, InvalidParameter(message, param=param))


def _query_name(request: Request[Any, Any, Any], argument: str | None) -> str | None:
    """What the caller calls a handler's argument: `from` is no name for one in Python."""
    handler = request.route_handler
    functions: list[Any] = [handler, *handler.resolve_dependencies().values()]
    for function in functions:
        field = function.parsed_fn_signature.parameters.get(argument or "")
        if name := getattr(field and field.kwarg_definition, "name", None):
            return str(name)
    return argument


def _http(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    if error.status_code < 500:  # noqa: PLR2004 - the line between their fault and ours
        return _answer_error(request, MalformedRequest(error.detail))
    return _unforeseen(request, error)


def _ledger_away(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    log.error("ledger_unavailable", error=repr(error))
    message = "the ledger cannot be reached right now; try again"
    return _answer_error(request, LedgerAway(message, retry_after_s=1))


def _unknown_account(request: Request[Any, Any, Any], error: UnknownAccount) -> Response[bytes]:
    return _answer_error(request, NotFound(str(error)))


def _gone(_: Request[Any, Any, Any], __: Exception) -> Response[None]:
    return Response(None, status_code=CALLER_GONE)  # which nobody hears


def _unforeseen(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    log.error(
        "unforeseen",
        request_id=str(request.scope["state"]["request_id"]),
        path=request.scope["path"],
        exc_info=error,
    )
    return _answer_error(request, Internal("something broke; quote the request id to us"))


EXCEPTIONS: Any = {
    CallerGone: _gone,
    EdgeError: _answer_error,
    NotFoundException: _not_found,
    MethodNotAllowedException: _method_not_allowed,
    ValidationException: _invalid,
    HTTPException: _http,
    LedgerUnavailable: _ledger_away,
    UnknownAccount: _unknown_account,
    Exception: _unforeseen,
}

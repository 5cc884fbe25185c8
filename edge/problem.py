"""The one shape of every error, in every layer.

RFC 9457 for those who read standards; `code`, `message` and `request_id` for those who
read logs; `error` for OpenAI's clients. One body that all of them understand.
"""

import math
from typing import Final
from uuid import UUID

import msgspec
from msgspec import Struct

from edge.errors import EdgeError

MEDIA_TYPE: Final = "application/problem+json"

_KINDS: Final = {
    401: "authentication_error",
    402: "insufficient_quota",
    403: "permission_error",
    429: "rate_limit_error",
}
_FIRST_SERVER_ERROR: Final = 500

#: What OpenAI calls it, where programs go by that.
_OPENAI_CODES: Final = {
    "budget_exhausted": "insufficient_quota",
    "input_too_long": "context_length_exceeded",
    "unknown_key": "invalid_api_key",
    "unknown_model": "model_not_found",
}


class OpenAIError(Struct, frozen=True):
    """The error object that OpenAI's clients look for."""

    message: str
    type: str
    param: str | None
    code: str


class Problem(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An error's body."""

    type: str  # a URI: urn:tollgate:error:<code>
    title: str
    status: int
    detail: str
    instance: str  # a URI: urn:uuid:<request id>
    code: str  # stable; what a program should look at
    request_id: str
    message: str  # what a person should look at
    error: OpenAIError
    policy: str | None = None  # the limit that refused, if one did


_encoder: Final = msgspec.json.Encoder()


def body(error: EdgeError, request_id: UUID) -> bytes:
    """An error as JSON."""
    kind = _KINDS.get(error.status)
    if kind is None:
        mine = error.status >= _FIRST_SERVER_ERROR
        kind = "server_error" if mine else "invalid_request_error"
    return _encoder.encode(
        Problem(
            type=f"urn:tollgate:error:{error.code}",
            title=error.title,
            status=error.status,
            detail=error.message,
            instance=f"urn:uuid:{request_id}",
            code=error.code,
            request_id=str(request_id),
            message=error.message,
            error=OpenAIError(
                error.message, kind, error.param, _OPENAI_CODES.get(error.code, error.code)
            ),
            policy=error.policy,
        )
    )


def headers(error: EdgeError) -> list[tuple[bytes, bytes]]:
    """What goes with it: when to come back, or how to sign in."""
    found = list(error.headers)
    if error.retry_after_s is not None:
        found.append((b"retry-after", b"%d" % math.ceil(error.retry_after_s)))
        found.append((b"retry-after-ms", b"%d" % math.ceil(1_000 * error.retry_after_s)))
    if error.final:
        found.append((b"x-should-retry", b"false"))
    if error.status == 401:  # noqa: PLR2004 - RFC 9110 demands the challenge with it
        found.append((b"www-authenticate", b'Bearer realm="tollgate"'))
    return found

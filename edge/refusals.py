"""The errors that an endpoint may answer with: what its documentation lists.

What the frame refuses follows from the declaration: from on whose behalf it is, and from
what it is given. The rest it names itself, as `raises`.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping
from typing import Any, Final

from edge import errors
from edge.endpoint import Endpoint, Perspective
from edge.errors import EdgeError
from edge.problem import MEDIA_TYPE

PROBLEM: Final = "#/components/schemas/Problem"

Errors = Collection[type[EdgeError]]

_ALWAYS: Final = (
    errors.MalformedRequest,
    errors.RequestTooSlow,
    errors.UriTooLong,
    errors.HeadTooLarge,
    errors.TooManyConnections,
    errors.EdgeFull,
    errors.Internal,
)
_KEY: Final = (
    errors.MissingKey,
    errors.MalformedKey,
    errors.UnknownKey,
    errors.RevokedKey,
    errors.ExpiredKey,
    errors.LedgerAway,
)
_BY_PERSPECTIVE: Final[Mapping[Perspective, Errors]] = {
    Perspective.APPLICATION: _KEY,
    Perspective.ADMIN: (errors.NotAdmin, errors.LedgerAway),
}
_BODY: Final = (
    errors.InvalidParameter,
    errors.MalformedJson,
    errors.BodyTooLarge,
    errors.CompressedBody,
    errors.NulCharacter,
)
_INFERENCE: Final = (
    errors.MalformedJson,
    errors.InvalidParameter,
    errors.BudgetExhausted,
    errors.NotInPlan,
    errors.UnknownModel,
    errors.UnknownTask,
    errors.StillRunning,
    errors.BodyTooLarge,
    errors.CompressedBody,
    errors.IdempotencyKeyReused,
    errors.InvalidInput,
    errors.NulCharacter,
    errors.RateLimited,
    errors.TooManyAtOnce,
    errors.WorkerFailed,
    errors.WorkerGone,
    errors.BadReply,
    errors.ModelNotRunning,
    errors.ModelBusy,
    errors.BrokerAway,
    errors.NotMetered,
    errors.MeterFull,
    errors.DeadlinePassed,
    errors.NoWebhook,
    errors.TooManyJobs,
    errors.JobsFull,
)

_RETRY_AFTER: Final = {
    "Retry-After": {
        "description": "Seconds after which trying again may help.",
        "schema": {"type": "integer", "minimum": 0},
    }
}
_CHALLENGE: Final = {
    "WWW-Authenticate": {
        "description": "How to sign in.",
        "required": True,
        "schema": {"type": "string"},
    }
}
_LATER: Final = frozenset({409, 429, 502, 503, 504})


def refusals(
    endpoint: Endpoint, operation: Mapping[str, Any], headers: Mapping[str, Any]
) -> dict[str, Any]:
    """The responses of an operation that are errors, by status, as OpenAPI has them.

    Args:
        endpoint: Its declaration.
        operation: What is known of it: its parameters and its body.
        headers: That every response has.
    """
    found: defaultdict[int, set[str]] = defaultdict(set)
    for error in refused(endpoint, operation):
        found[endpoint.status(error.status)].add(error.code)
    named = found.keys() - (_by_models(endpoint) if endpoint.asks is not None else set())
    return {
        str(status): _response(status, sorted(codes), headers, closed=status in named)
        for status, codes in sorted(found.items())
    }


def refused(endpoint: Endpoint, operation: Mapping[str, Any]) -> set[type[EdgeError]]:
    """The errors that an operation may answer with."""
    found: set[type[EdgeError]] = {*_ALWAYS, *endpoint.raises}
    found.update(_BY_PERSPECTIVE.get(endpoint.perspective, ()))
    if endpoint.perspective is Perspective.APPLICATION and not endpoint.any_scope:
        found.add(errors.NotInScope)
    if endpoint.asks is not None:
        found.update(_INFERENCE)
        # a language is named by our paths, and arguments that are not honoured by OpenAI's clients
        found.add(errors.LanguageNotSpoken if endpoint.dialect is None else errors.Unsupported)
        return found
    if "requestBody" in operation:
        found.update(_BODY)
    for parameter in operation.get("parameters", ()):
        found.add(errors.InvalidParameter)
        if parameter["in"] == "path":
            found.add(errors.NotFound)
    return found


def _by_models(endpoint: Endpoint) -> set[int]:
    """The statuses by which models refuse an input, with codes of their own."""
    return {errors.BodyTooLarge.status, endpoint.status(errors.InvalidInput.status)}


def _response(
    status: int, codes: Collection[str], headers: Mapping[str, Any], *, closed: bool
) -> dict[str, Any]:
    told = dict(headers)
    if status == 401:  # noqa: PLR2004 - RFC 9110 demands the challenge with it
        told |= _CHALLENGE
    if status in _LATER:
        told |= _RETRY_AFTER
    schema: dict[str, Any] = {"$ref": PROBLEM}
    known = {"enum": list(codes)} if closed else {}
    schema["properties"] = {"status": {"const": status}, "code": known}
    return {
        "description": ", ".join(f"`{code}`" for code in codes),
        "headers": told,
        "content": {MEDIA_TYPE: {"schema": schema}},
    }

"""The errors that an endpoint may answer with, and what to do about each."""

import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from edge import errors
from edge.endpoint import Endpoint
from edge.errors import EdgeError
from edge.refusals import refused

ADVICE: Final[Mapping[int, str]] = {
    400: "Mend the request: `message` says what is wrong, `error.param` where.",
    401: "Send another key, or token, as `message` says.",
    402: "Raise the budget, add credit, or see to the payment.",
    403: "Use another key or model, or ask the operator for another plan.",
    404: "Look the name up: nothing is there.",
    405: "Use the method that this page names.",
    408: "Send the request faster: head and body have to arrive in time.",
    409: "Wait until the other request is done, or look at what is there already.",
    413: "Send less at once.",
    414: "Send a shorter path, and what is long in the body.",
    415: "Send the body as it is, uncompressed.",
    422: "Mend the body: `message` says what is wrong, `error.param` where.",
    429: "Wait for as many seconds as `Retry-After` says, then send it again.",
    431: "Send fewer and shorter headers.",
    499: "Nothing: it was cancelled, by whoever may ask for it.",
    500: "Tell us the `request_id`.",
    502: "Send it again; if that does not help, tell us the `request_id`. Nothing was billed.",
    503: "Wait for as many seconds as `Retry-After` says, then send it again. Nothing was billed.",
    504: "Send it again, or ask for less at once. Nothing was billed.",
}
_ELSEWHERE: Final = {"UnknownAccount": errors.NotFound}  # the ledger's own: edge/exceptions.py
_RAISED: Final = re.compile(r"^ {4}(\w+(?:, \w+)*): (.*(?:\n {5,}.*)*)", re.MULTILINE)


class Mistake(Struct, frozen=True):
    """One error, and when it is met."""

    status: int
    code: str
    why: str
    do: str


def mistakes(endpoint: Endpoint, operation: Mapping[str, Any]) -> Sequence[Mistake]:
    """Those of an endpoint, in its handler's own words where it has some.

    Args:
        endpoint: Its declaration.
        operation: The same in the OpenAPI document.
    """
    found = dict.fromkeys(refused(endpoint, operation), "") | dict(_said(endpoint.handler))
    known = [
        replace(_mistake(kind, why), status=endpoint.status(kind.status))
        for kind, why in found.items()
    ]
    return sorted(known, key=lambda mistake: (mistake.status, mistake.code))


def every_mistake() -> Sequence[Mistake]:
    """All that there are."""
    kinds = [
        kind
        for _, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, EdgeError) and "code" in vars(kind)
    ]
    found = [_mistake(kind, "") for kind in kinds]
    return sorted(found, key=lambda mistake: (mistake.status, mistake.code))


def _mistake(kind: type[EdgeError], why: str) -> Mistake:
    said = why or f"{kind.title}. {inspect.getdoc(kind)}"
    return Mistake(kind.status, kind.code, said, ADVICE[kind.status])


def _said(
    handler: Callable[..., Any] | None,
) -> Iterator[tuple[type[EdgeError], str]]:
    """What a docstring has under `Raises:`."""
    said = inspect.getdoc(handler) if handler else ""
    raises = (said or "").partition("\nRaises:\n")[2]
    for names, why in _RAISED.findall(raises):
        for name in names.split(", "):
            kind = _ELSEWHERE.get(name) or getattr(errors, name, None)
            if kind is not None:
                text = " ".join(why.split()).rstrip(".")
                yield kind, f"{kind.title}: {text}."

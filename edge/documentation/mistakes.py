"""The errors that an endpoint may answer with, and what to do about each."""

import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from edge import errors
from edge.endpoint import Endpoint, Perspective
from edge.errors import EdgeError

BAD_REQUEST: Final = 400
UNPROCESSABLE: Final = 422
ADVICE: Final[Mapping[int, str]] = {
    400: "Mend the request: `message` says what is wrong, `error.param` where.",
    401: "Send another key, or token, as `message` says.",
    402: "Raise the budget, add credit, or see to the payment.",
    403: "Use another key or model, or ask the operator for another plan.",
    404: "Look the name up: nothing is there.",
    405: "Use the method that this page names.",
    409: "Wait until the other request is done, or look at what is there already.",
    413: "Send less at once.",
    415: "Send the body as it is, uncompressed.",
    422: "Mend the body: `message` says what is wrong, `error.param` where.",
    429: "Wait for as many seconds as `Retry-After` says, then send it again.",
    499: "Ask again, if you want it after all.",
    500: "Tell us the `request_id`.",
    502: "Send it again; if that does not help, tell us the `request_id`. Nothing was billed.",
    503: "Wait for as many seconds as `Retry-After` says, then send it again. Nothing was billed.",
    504: "Send it again, or ask for less at once. Nothing was billed.",
}
BY_KEY: Final = (
    errors.MissingKey,
    errors.MalformedKey,
    errors.UnknownKey,
    errors.RevokedKey,
    errors.ExpiredKey,
)
#: Of everything that is asked of a model, whatever the task.
ASKING: Final = (
    errors.MalformedJson,
    errors.InvalidParameter,
    errors.Unsupported,
    errors.BudgetExhausted,
    errors.NotInPlan,
    errors.NotInScope,
    errors.UnknownModel,
    errors.UnknownTask,
    errors.StillRunning,
    errors.NoWebhook,
    errors.BodyTooLarge,
    errors.CompressedBody,
    errors.InvalidInput,
    errors.NulCharacter,
    errors.LanguageNotSpoken,
    errors.IdempotencyKeyReused,
    errors.RateLimited,
    errors.TooManyAtOnce,
    errors.TooManyJobs,
    errors.WorkerFailed,
    errors.WorkerGone,
    errors.BadReply,
    errors.ModelNotRunning,
    errors.ModelBusy,
    errors.BrokerAway,
    errors.JobsFull,
    errors.LedgerAway,
    errors.NotMetered,
    errors.MeterFull,
    errors.DeadlinePassed,
)
_ELSEWHERE: Final = {"UnknownAccount": errors.NotFound}  # the ledger's own: edge/exceptions.py
_RAISED: Final = re.compile(r"^ {4}(\w+(?:, \w+)*): (.*(?:\n {5,}.*)*)", re.MULTILINE)


class Mistake(Struct, frozen=True):
    """One error, and when it is met."""

    status: int
    code: str
    why: str
    do: str


def mistakes(endpoint: Endpoint) -> Sequence[Mistake]:
    """Those of an endpoint, by its declaration and by what its handler says that it raises."""
    found: dict[str, Mistake] = {}
    for kind, why in chain(_by_handler(endpoint.handler), _by_declaration(endpoint)):
        mistake = _mistake(kind, why)
        if endpoint.dialect is not None and mistake.status == UNPROCESSABLE:
            mistake = replace(mistake, status=BAD_REQUEST)  # as edge/openai/dialect.py has it
        found.setdefault(kind.code, mistake)
    return sorted(found.values(), key=lambda mistake: mistake.status)


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


def _by_declaration(endpoint: Endpoint) -> Iterator[tuple[type[EdgeError], str]]:
    match endpoint.perspective:
        case Perspective.APPLICATION:
            yield from ((kind, "") for kind in (*BY_KEY, errors.LedgerAway))
        case Perspective.ADMIN:
            yield from ((kind, "") for kind in (errors.NotAdmin, errors.LedgerAway))
    if endpoint.asks is not None:
        yield from ((kind, "") for kind in ASKING)
    elif endpoint.example is not None:  # it takes something
        yield errors.InvalidParameter, ""


def _by_handler(
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

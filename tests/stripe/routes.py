"""Which function answers what."""

import re
from collections.abc import Callable
from typing import Any

from msgspec import Struct

from tests.stripe.errors import Refused
from tests.stripe.form import Params

Json = dict[str, Any]
Handler = Callable[..., Json]  # of the account, the parameters and what the path names


class Route(Struct, frozen=True):
    method: str
    pattern: re.Pattern[str]
    handler: Handler
    takes: set[str]


_routes: list[Route] = []


def route(method: str, path: str, *takes: str) -> Callable[[Handler], Handler]:
    """Declare who answers; parameters that are not named are refused, as Stripe does."""
    pattern = re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path))

    def declare(handler: Handler) -> Handler:
        _routes.append(Route(method, pattern, handler, {"expand", *takes}))
        return handler

    return declare


def find(method: str, path: str, params: Params) -> tuple[Handler, dict[str, str]]:
    """Whoever answers, and what the path names.

    Raises:
        Refused: nobody does, or not with these parameters.
    """
    for candidate in _routes:
        match = candidate.pattern.fullmatch(path)
        if match and candidate.method == method:
            for name in params:
                if name not in candidate.takes:
                    raise Refused(
                        f"Received unknown parameter: {name}", code="parameter_unknown", param=name
                    )
            return candidate.handler, match.groupdict()
    raise Refused(f"Unrecognized request URL ({method}: {path}).", status=404)

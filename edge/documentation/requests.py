"""The request that a declaration gives as its example."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote, urlencode

from edge.documentation.snippets import Request
from edge.documentation.variables import Variable, needed
from edge.endpoint import Endpoint, Perspective
from edge.examples import Example, said

PARAMETER: Final = re.compile(r"\{(\w+)(?::\w+)?\}")
_AUTHORIZATION: Final[Mapping[Perspective, str]] = {
    Perspective.APPLICATION: "Bearer $TOLLGATE_KEY",
    Perspective.ADMIN: "Bearer $TOLLGATE_ADMIN_TOKEN",
}


def request_of(endpoint: Endpoint, *, answer: str, model: str = "") -> Request:
    """What to send to an endpoint.

    Args:
        endpoint: Its declaration; where it has no example, nothing needs to be told.
        answer: Of what kind: "json", "text" or "stream".
        model: That is to be asked, where one is.
    """
    example = endpoint.example or Example()
    path = PARAMETER.sub(lambda found: _value(found[1], example, model), endpoint.path)
    query = "?" + urlencode(example.query, safe="$,:") if example.query else ""
    headers = dict(example.headers)
    if authorization := _AUTHORIZATION.get(endpoint.perspective):
        headers = {"Authorization": authorization, **headers}
    body = _body(endpoint, example, model, stream=answer == "stream")
    if body is not None:
        headers["Content-Type"] = "application/json"
    return Request(
        method=endpoint.method,
        url=f"$TOLLGATE_URL{path}{query}",
        headers=headers,
        body=body,
        answer=answer,
    )


def variables_of(endpoint: Endpoint, request: Request) -> Sequence[Variable]:
    """What has to be set before an endpoint's example is pasted, in this order."""
    needs = [f"${name}" for name in endpoint.example.needs] if endpoint.example else []
    said = [request.url, *request.headers.values(), str(request.body)]
    return needed("\n".join(["$TOLLGATE_URL", *needs, *said]))


def _body(endpoint: Endpoint, example: Example, model: str, *, stream: bool) -> Any:  # noqa: ANN401 - JSON
    streamed = {"stream": True} if stream else {}
    if endpoint.dialect is not None:
        return {**said(endpoint.dialect.example), "model": model, **streamed}
    if endpoint.task is not None:
        return {**said(endpoint.task.example), **streamed}
    return said(example.body)


def _value(parameter: str, example: Example, model: str) -> str:
    if parameter == "model":
        return quote(model, safe="")
    return f"${example.path.get(parameter, parameter.upper())}"

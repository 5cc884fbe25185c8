"""The declarations as one OpenAPI 3.1 document.

Litestar describes the routes that it parses itself; the inference route is raw ASGI and
is described here from its declarations. Errors have one shape whoever raises them, and
so have one description.
"""

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Final

from litestar import Litestar
from msgspec import Struct

from edge import sse
from edge.documentation.variables import named
from edge.endpoint import JSON, Endpoint, Perspective
from edge.examples import said
from edge.groups import group_of
from edge.jobs.taken import Taken
from edge.native import StreamEnd
from edge.openai.dialect import OpenAIDialect
from edge.problem import Problem
from edge.refusals import refusals
from edge.schemas import REFERENCE, schemas, types_of
from events.tasks import Task

SECURITY_SCHEMES: Final[Mapping[str, Any]] = {
    "api_key": {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key. `Authorization: Token <key>` and HTTP Basic with the key "
        "as user name are taken too.",
    },
    "admin_token": {"type": "http", "scheme": "bearer", "description": "The operator's token."},
}
_SECURITY: Final[Mapping[Perspective, Any]] = {
    Perspective.APPLICATION: [{"api_key": []}],
    Perspective.ADMIN: [{"admin_token": []}],
}
_TEXT: Final = {"schema": {"type": "string"}}
_METHODS: Final = frozenset({"get", "post", "put", "patch", "delete"})

_REQUEST_ID: Final = {
    "X-Request-Id": {
        "description": "Of this request, in logs, usage events and errors.",
        "required": True,
        "schema": {"type": "string", "format": "uuid"},
    }
}
_TIMING: Final = {
    "Server-Timing": {
        "description": "Milliseconds spent tokenizing, queueing and computing, and in the edge.",
        "schema": {"type": "string"},
    }
}
_TAKEN: Final = {
    "description": "The request waits: with `Prefer: respond-async`, or below `/v1/async`.",
    "content": {"application/json": {"schema": {"$ref": REFERENCE.format(name="Taken")}}},
}


def describe(app: Litestar, endpoints: Sequence[Endpoint], *, root_path: str) -> dict[str, Any]:
    """The document.

    Args:
        app: With the handlers that Litestar parses.
        endpoints: The declarations behind it.
        root_path: Where a caller finds this API, if not at the root.
    """
    document = app.openapi_schema.to_schema()
    document["info"] = {
        "title": "Tollgate",
        "version": "1",
        "description": "Models behind a gate, a meter and a till.",
    }
    document["servers"] = [{"url": root_path.rstrip("/") or "/"}]
    components = document.setdefault("components", {})
    components["securitySchemes"] = SECURITY_SCHEMES
    components.setdefault("schemas", {}).update(schemas(_types(endpoints)))

    declared = {endpoint.name: endpoint for endpoint in endpoints}
    for path, item in list(document["paths"].items()):
        for method in _METHODS & item.keys():
            operation = item[method]
            endpoint = declared.get(operation["operationId"])
            if endpoint is None:  # static files and the like
                del document["paths"][path]
                break
            _settle(operation, endpoint)
            _exemplify(operation, endpoint)
    for endpoint in endpoints:
        if operation := _unparsed(endpoint):
            _settle(operation, endpoint)
            document["paths"][endpoint.path] = {"post": operation}
    return document


def _unparsed(endpoint: Endpoint) -> dict[str, Any] | None:
    """An operation that is not Litestar's, None where it is."""
    if endpoint.task is not None:
        return _inference(endpoint, endpoint.task)
    if endpoint.dialect is not None:
        return _spoken(endpoint, endpoint.dialect)
    if endpoint.operation is not None:
        return {**_begun(endpoint), **copy.deepcopy(dict(endpoint.operation))}
    return None


def _begun(endpoint: Endpoint) -> dict[str, Any]:
    return {
        "operationId": endpoint.name,
        "summary": endpoint.name.replace("_", " ").capitalize(),
        "description": endpoint.description,
    }


def _settle(operation: dict[str, Any], endpoint: Endpoint) -> None:
    """Say of an operation what is true of all of them."""
    responses = operation["responses"]
    for status in [status for status in responses if status >= "400"]:
        del responses[status]
    for status_code, meaning in endpoint.also.items():
        responses[str(status_code)] = {"description": meaning}
    for response in responses.values():
        response["headers"] = {**response.get("headers", {}), **_REQUEST_ID}
        if endpoint.handler is not None and "content" in response:
            (schema,) = response["content"].values()
            response["content"] = {
                media_type: schema if media_type == JSON else _TEXT
                for media_type in endpoint.media_types
            }
    responses.update(refusals(endpoint, operation, _REQUEST_ID))
    operation["security"] = _SECURITY.get(endpoint.perspective, [])
    operation["tags"] = [group_of(endpoint)]


def _exemplify(operation: dict[str, Any], endpoint: Endpoint) -> None:
    """Give the declaration's example; one that names a variable is for the pages alone."""
    if endpoint.example is None or endpoint.example.body is None:
        return
    body = said(endpoint.example.body)
    if not any(named(str(body))):
        for content in operation["requestBody"]["content"].values():
            content["example"] = body


def _inference(endpoint: Endpoint, task: Task) -> dict[str, Any]:
    """One of ours: the path names the model."""
    stream = ""
    if task.piece is not None:
        stream = (
            f"With `stream`: plain messages, whose data is a `{task.piece.__name__}`; then one "
            "event, `end` with a `StreamEnd` or `error` with a `Problem`. Without either, the "
            "stream was cut off."
        )
    model = {
        "name": "model",
        "in": "path",
        "required": True,
        "description": "One of GET /v1/models.",
        "schema": {"type": "string"},
    }
    asking = _asking(endpoint, task.takes, task.gives, said(task.example), stream)
    return {**asking, "parameters": [model]}


def _spoken(endpoint: Endpoint, dialect: OpenAIDialect[Any]) -> dict[str, Any]:
    """One of OpenAI's: the body names the model."""
    stream = ""
    if dialect.piece is not None:
        stream = (
            f"With `stream`: messages whose data is a `{dialect.piece.__name__}`, then `[DONE]`. "
            "One whose data has an `error` ends a stream that is not whole."
        )
    return _asking(endpoint, dialect.takes, dialect.gives, dialect.example, stream)


def _asking(
    endpoint: Endpoint,
    takes: type[Struct],
    gives: type[Struct],
    example: Any,  # noqa: ANN401 - JSON
    stream: str,
) -> dict[str, Any]:
    """What is true of all that is asked of models; `stream` says what one is made of."""
    given: dict[str, Any] = {JSON: {"schema": {"$ref": REFERENCE.format(name=gives.__name__)}}}
    if stream:
        given[sse.MEDIA_TYPE] = {"schema": {"description": stream}}
    taken = {"schema": {"$ref": REFERENCE.format(name=takes.__name__)}, "example": example}
    return {
        **_begun(endpoint),
        "requestBody": {"required": True, "content": {JSON: taken}},
        "responses": {
            "200": {
                "description": "The model's answer. Its usage event is durable.",
                "headers": _TIMING,
                "content": given,
            },
            "202": {**_TAKEN},
        },
    }


def _types(endpoints: Sequence[Endpoint]) -> Sequence[Any]:
    types: list[Any] = [Problem, StreamEnd, Taken]
    for endpoint in endpoints:
        if endpoint.handler is not None:
            types += types_of(endpoint.handler)
        if endpoint.task is not None:
            types += [endpoint.task.takes, endpoint.task.gives]
            types += [endpoint.task.piece] if endpoint.task.piece else []
        if endpoint.dialect is not None:
            types += [endpoint.dialect.takes, endpoint.dialect.gives]
            types += [endpoint.dialect.piece] if endpoint.dialect.piece else []
    return types

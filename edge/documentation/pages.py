"""What the pages say: of each endpoint, by its declaration and by the OpenAPI document."""

import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct

from edge.documentation.answers import ANSWERS
from edge.documentation.fields import row, tables
from edge.documentation.mistakes import every_mistake, mistakes
from edge.documentation.place import Place
from edge.documentation.requests import request_of, variables_of
from edge.documentation.snippets import Request, curl, javascript, python
from edge.documentation.variables import Variable, needed
from edge.endpoint import JSON, Endpoint, Perspective
from edge.errors import InvalidInput
from edge.groups import GROUPS, group_of
from edge.native import StreamEnd
from events.usage import Quantities

NO_MODEL: Final = "MODEL"  # to be put in by the reader, where none does a task
FIRST: Final = "entities"  # is shown first, where a model does it: it is quick, and easy to check
LANGUAGES: Final[Mapping[str, Callable[[Request], str]]] = {
    "curl": curl,
    "Python": python,
    "JavaScript": javascript,
}
CALLERS: Final[Mapping[Perspective, str]] = {
    Perspective.PUBLIC: "Anybody; no key is asked for.",
    Perspective.APPLICATION: "Whoever has an API key, for the account of the key.",
    Perspective.MEMBER: "Whoever has signed in.",
    Perspective.ADMIN: "The operator, with the admin token.",
    Perspective.INFRASTRUCTURE: "Probes and scrapers inside your own walls; no key is asked for.",
}

Context = Mapping[str, Any]


class Shown(Struct, frozen=True):
    """One example in every language."""

    title: str
    kind: str  # of answer: "json", "text" or "stream"
    snippets: Mapping[str, str]


class Pages:
    """Makes the pages of the endpoints that an edge serves.

    Args:
        endpoints: Their declarations.
        document: The OpenAPI document of the same.
    """

    def __init__(self, endpoints: Sequence[Endpoint], document: dict[str, Any]) -> None:
        self.document = document
        self._endpoints = {endpoint.name: endpoint for endpoint in endpoints}
        self._schemas: Mapping[str, Any] = document["components"]["schemas"]
        self._operations: Mapping[str, Any] = {
            operation["operationId"]: operation
            for item in document["paths"].values()
            for operation in item.values()
        }

    def index(self, place: Place) -> Context:
        """What the first page says: how to begin, and what there is."""
        groups = [
            (
                group,
                [self._entry(one) for one in self._endpoints.values() if group_of(one) == group],
            )
            for group in GROUPS
        ]
        asked = [one for one in self._endpoints.values() if one.task and one.name in place.models]
        asked.sort(key=lambda one: one.name != FIRST)
        first = asked[0] if asked else None
        streamed = next((one for one in asked if one.streams), None)
        return {
            "groups": [(group, entries) for group, entries in groups if entries],
            "before": _before(place, needed("$TOLLGATE_URL $TOLLGATE_KEY")),
            "first": first and self.shown(first, place)[0],
            "answer": first and ANSWERS.get(first.name),
            "streamed": streamed and self.shown(streamed, place)[1],
            "mistakes": every_mistake(),
        }

    def page(self, name: str, place: Place) -> Context | None:
        """What an endpoint's page says; None where there is no such endpoint."""
        endpoint = self._endpoints.get(name)
        if endpoint is None:
            return None
        operation = self._operations[name]
        body = _schema(operation.get("requestBody", {}))
        success = operation["responses"][str(endpoint.status_code)]
        request = self._request(endpoint, place, self.kind(endpoint))
        example = endpoint.example
        return {
            **self._entry(endpoint),
            "group": group_of(endpoint),
            "caller": _caller(endpoint),
            "parameters": [
                (
                    one["in"],
                    row(
                        one["name"],
                        one["schema"],
                        required=one.get("required", False),
                        description=one.get("description", ""),
                    ),
                )
                for one in operation.get("parameters", ())
            ],
            "takes": tables(body, self._schemas),
            "before": _before(place, variables_of(endpoint, request)),
            "after": self._endpoints.get(example.after) if example else None,
            "examples": self.shown(endpoint, place),
            "unless": example.unless if example else {},
            "model_missing": self._model(endpoint, place) == NO_MODEL,
            "answer": ANSWERS.get(name),
            "status": endpoint.status_code,
            "gives": tables(_schema(success), self._schemas),
            "others": [
                (status, response["description"], tables(_schema(response), self._schemas))
                for status, response in operation["responses"].items()
                if status.startswith("2") and status != str(endpoint.status_code)
            ],
            "piece": _piece(endpoint, self._schemas),
            "mistakes": mistakes(endpoint, operation),
            "task": endpoint.task,
            "dialect": endpoint.dialect,
            "metered": _metered(endpoint),
            "unfit": endpoint.status(InvalidInput.status),
        }

    def shown(self, endpoint: Endpoint, place: Place) -> Sequence[Shown]:
        """An endpoint's examples: the plain one, and one of a stream where it can."""
        kinds = [("Request", self.kind(endpoint))]
        if endpoint.streams:
            kinds.append(("As a stream", "stream"))
        return [
            Shown(
                title,
                kind,
                {
                    language: write(self._request(endpoint, place, kind))
                    for language, write in LANGUAGES.items()
                },
            )
            for title, kind in kinds
        ]

    def kind(self, endpoint: Endpoint) -> str:
        """Of which kind a whole answer is: "json" or "text"."""
        success = self._operations[endpoint.name]["responses"][str(endpoint.status_code)]
        return "json" if JSON in success.get("content", {}) else "text"

    def _request(self, endpoint: Endpoint, place: Place, kind: str) -> Request:
        return request_of(endpoint, answer=kind, model=self._model(endpoint, place))

    def _model(self, endpoint: Endpoint, place: Place) -> str:
        """The one to ask; any, where none is asked for a task."""
        if endpoint.asks is not None:
            return place.models.get(endpoint.asks.name, NO_MODEL)
        return next(iter(place.models.values()), NO_MODEL)

    def _entry(self, endpoint: Endpoint) -> Context:
        return {
            "name": endpoint.name,
            "title": self._operations[endpoint.name]["summary"],
            "method": endpoint.method,
            "path": _plain(endpoint.path),
            "description": endpoint.description,
        }


def _caller(endpoint: Endpoint) -> str:
    """Who may call an endpoint."""
    if endpoint.perspective is not Perspective.APPLICATION or endpoint.any_scope:
        return CALLERS[endpoint.perspective]
    if endpoint.asks is not None:
        return f"{CALLERS[endpoint.perspective]} If the key has a scope: within that."
    return "Whoever has an API key without a scope, for the account of the key."


def _before(place: Place, variables: Sequence[Variable]) -> Sequence[Variable]:
    """What has to be set before an example is pasted, at this place."""
    here = f"export TOLLGATE_URL={shlex.quote(place.url)}"
    return [
        msgspec.structs.replace(one, shell=here) if one.name == "TOLLGATE_URL" else one
        for one in variables
    ]


def _plain(path: str) -> str:
    """A path as OpenAPI writes it: without the types of its parameters."""
    return "/".join(
        segment.partition(":")[0] + "}" if segment.startswith("{") and ":" in segment else segment
        for segment in path.split("/")
    )


def _schema(of: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = of.get("content", {}).get(JSON, {}).get("schema", {})
    return found


def _piece(endpoint: Endpoint, schemas: Mapping[str, Any]) -> Any:  # noqa: ANN401 - tables
    types: list[type] = []
    if endpoint.dialect is not None and endpoint.dialect.piece is not None:
        types = [endpoint.dialect.piece]
    if endpoint.task is not None and endpoint.task.piece is not None:
        types = [endpoint.task.piece, StreamEnd]
    return tables({"anyOf": [{"$ref": f"/{one.__name__}"} for one in types]}, schemas)


def _metered(endpoint: Endpoint) -> Sequence[str]:
    """The quantities that an answer is metered by; none where it is free."""
    if endpoint.asks is None:
        return ()
    most: Quantities = endpoint.asks.most(endpoint.asks.example)
    used = [name for name in most.__struct_fields__ if getattr(most, name)]
    return [*used, "device_ms"]

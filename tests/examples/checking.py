"""What is wrong with examples that were run, by the OpenAPI document."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jsonschema_rs

from tests.examples.page import Snippet
from tests.examples.places import ENDPOINTS
from tests.examples.running import Ran

JSON = "application/json"


class Documented:
    """The document, as far as it says what answers are like."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._components = {"components": document["components"]}
        self._operations = {
            operation["operationId"]: (method, path, operation)
            for path, item in document["paths"].items()
            for method, operation in item.items()
        }

    @property
    def names(self) -> Sequence[str]:
        return list(self._operations)

    def complaints(self, ran: Sequence[Ran]) -> Iterator[str]:
        """What differs from the document, and between the languages."""
        for one in ran:
            for complaint in self._of(one):
                yield f"{one.snippet.label}: {complaint}"
        yield from _differences(ran)

    def misfit(self, name: str, status: int, body: Any) -> str:
        """Why a JSON answer is not as the document has it; empty if it is."""
        content = self._success(name, status).get("content", {})
        return self._misfit(content.get(JSON, {}).get("schema", {}), body)

    def _of(self, ran: Ran) -> Iterator[str]:
        example = ENDPOINTS[ran.snippet.page].example
        if example and any(passed.status in example.unless for passed in ran.passed):
            return
        if ran.failed:
            yield f"it failed: {ran.failed}\n{ran.output}"
        if len(ran.passed) != 1:
            yield f"it sent {len(ran.passed)} requests"
            return
        (passed,) = ran.passed
        method, path, operation = self._operations[ran.snippet.page]
        if passed.method != method.upper() or not _fits(passed.path, path):
            yield f"it sent {passed.method} {passed.path}, not {method.upper()} {path}"
        status = next(iter(operation["responses"]))
        if str(passed.status) != status:
            yield f"it was answered {passed.status}, not {status}: {passed.body.decode()[:400]}"
            return
        kind = passed.headers.get("content-type", "").partition(";")[0]
        content = self._success(ran.snippet.page, passed.status).get("content", {})
        if content and kind not in content:
            yield f"its answer is {kind}, not one of {list(content)}"
        if kind == JSON and passed.body:
            yield from self._of_json(ran.snippet, json.loads(passed.body), ran.output)
        elif kind == "text/event-stream":
            yield from self._of_stream(passed.body.decode(), ran.output)
        elif ran.output.rstrip("\n") != passed.body.decode().rstrip("\n"):
            yield f"it printed {ran.output[:400]!r}"

    def _of_json(self, snippet: Snippet, body: Any, output: str) -> Iterator[str]:
        status = int(next(iter(self._operations[snippet.page][2]["responses"])))
        if misfit := self.misfit(snippet.page, status, body):
            yield f"its answer is not as documented: {misfit}"
        if _numbers(output) != _numbers(json.dumps(body)):
            yield f"it printed {output[:400]!r}"

    def _of_stream(self, body: str, output: str) -> Iterator[str]:
        if output.split() != body.split():
            yield f"it printed {output[-400:]!r}"
        if "event: end\n" not in body and not body.endswith("data: [DONE]\n\n"):
            yield f"its stream has no end: {body[-400:]!r}"

    def _success(self, name: str, status: int) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self._operations[name][2]["responses"][str(status)]
        return found

    def _misfit(self, schema: Mapping[str, Any], body: Any) -> str:
        validator = jsonschema_rs.Draft202012Validator(
            {**schema, **self._components}, validate_formats=True
        )
        return "; ".join(str(error) for error in validator.iter_errors(body))


def _numbers(text: str) -> Any:
    """JSON as JavaScript has it, whose numbers are all floats; None where it is none."""
    try:
        return json.loads(text, parse_int=float)
    except json.JSONDecodeError:
        return None


def _fits(path: str, documented: str) -> bool:
    parts, wanted = path.partition("?")[0].split("/"), documented.split("/")
    return len(parts) == len(wanted) and all(
        want.startswith("{") or part == want for part, want in zip(parts, wanted, strict=True)
    )


def _differences(ran: Sequence[Ran]) -> Iterator[str]:
    """Where one language sends something else than the others."""
    sent: dict[tuple[str, str], dict[str, Any]] = {}
    for one in ran:
        for passed in one.passed:
            body = json.loads(passed.sent) if passed.sent else None
            of = sent.setdefault((one.snippet.page, one.snippet.kind), {})
            of[one.snippet.language] = (passed.method, passed.path, body)
    for (page, kind), by_language in sent.items():
        if any(one != next(iter(by_language.values())) for one in by_language.values()):
            yield f"{page}, {kind}: the languages differ: {by_language}"

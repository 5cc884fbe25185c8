"""The running system against its own OpenAPI document: it answers what is written there.

TOLLGATE_TEST_EXAMPLES=100 asks more of each operation, TOLLGATE_TEST_SEED=1 something else.
"""

import asyncio
import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

import httpx
import hypothesis
import pytest
import schemathesis
from hypothesis import strategies as st
from litestar import Response
from msgspec.structs import replace
from schemathesis import Case, CheckContext, CheckFunction, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.core.result import Ok
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from edge.endpoint import JSON, Endpoint
from edge.endpoints import balance
from edge.endpoints.balance import Balance
from edge.errors import NoSubscription, NotAdmin
from edge.receipts import Receipts
from tests.system.mute import MODEL
from tests.system.routes import NOBODYS, body_of, security_of
from tests.system.town import Tenant, Town
from tests.waiting import PATIENCE_S

pytestmark = pytest.mark.asyncio(loop_scope="session")

EXAMPLES: Final = int(os.environ.get("TOLLGATE_TEST_EXAMPLES", "5"))
SEED: Final = int(os.environ.get("TOLLGATE_TEST_SEED", "0"))


def code_of_this_status(_: CheckContext, answer: schemathesis.Response, case: Case[Any]) -> None:
    """An error's code stands below the status that it is answered with, and below no other."""
    if answer.status_code < 400:
        return
    code, status = answer.json()["code"], str(answer.status_code)
    responses = case.operation.definition.raw["responses"]
    named = {one for one, said in responses.items() if f"`{code}`" in said["description"]}
    assert named <= {status}, f"{code} is {status}, and stands below {sorted(named)}"


CHECKS: Final[list[CheckFunction]] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    code_of_this_status,
]
NOT_HAD: Final = {
    "DELETE /v1/jobs/{job_id}",  # 409: it has run by then
    "POST /webhooks/stripe",  # 400: Stripe has not signed it
}
LATER: Final = {"Prefer": "respond-async"}
Operation = APIOperation[Any, Any, Any, Any]
AnyCase = Case[Any]


class Neighbours:
    """Asks an edge for all that its document has, by what fits the document and what does not.

    Args:
        town: The system.
        url: The edge's.
        caller: Who asks.
        other: Whose things are asked for beside the caller's own.
        charge: On whom the operator acts: its keys are revoked on the way.
    """

    def __init__(
        self, town: Town, url: str, *, caller: Tenant, other: Tenant, charge: Tenant
    ) -> None:
        self._url = url
        self._operator = town.system.admin_headers
        self._caller = caller
        self._other = other
        self._charge = charge
        self.asked: set[str] = set()  # operations
        self.had: set[tuple[str, int]] = set()  # operations, and how they were answered
        self.found: list[str] = []

    def ask(self, only: str = "") -> None:
        """Ask for everything, or for what is below a path."""
        document = httpx.get(f"{self._url}/openapi.json", timeout=PATIENCE_S).json()
        schema = schemathesis.openapi.from_dict(document)
        schema.validate()  # by OpenAPI's own schema
        found = [result.ok() for result in schema.get_all_operations() if isinstance(result, Ok)]
        operations: list[Operation] = [operation for operation in found if only in operation.path]
        for _ in range(2):  # after the first time there is no subscription, and room for one
            for operation in sorted(operations, key=lambda one: one.method.upper() == "DELETE"):
                self._ask_rightly(operation)
        for operation in operations:
            for mode in GenerationMode:
                self._ask(operation, mode)

    def _ask_rightly(self, operation: Operation) -> None:
        """Ask as the documentation would have it."""
        raw = operation.definition.raw
        places = {one["name"]: one["in"] for one in raw.get("parameters", ())}
        mine = self._mine(operation)
        body = body_of(raw, self._charge)
        for headers in ({}, LATER) if "202" in raw["responses"] else ({},):
            case = operation.Case(
                path_parameters={name: mine[name] for name, at in places.items() if at == "path"},
                query={name: NOBODYS[name] for name in ("at", "state") if name in places},
                headers=headers,
                **({"body": body, "media_type": JSON} if body is not None else {}),
            )
            self._send(case)

    def _ask(self, operation: Operation, mode: GenerationMode) -> None:
        """Ask what is generated, by ids that there are and by others."""

        @hypothesis.seed(SEED)
        @hypothesis.settings(
            max_examples=EXAMPLES,
            database=None,
            phases=[hypothesis.Phase.generate],
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        @hypothesis.given(operation.as_strategy(mode), st.data())
        def try_each(case: AnyCase, data: st.DataObject) -> None:
            known = self._mine(operation), {**NOBODYS, **self._other.ids, "model": MODEL}
            for name, value in case.path_parameters.items():
                one_of = st.sampled_from([*(ids[name] for ids in known), value])
                case.path_parameters[name] = data.draw(one_of)
            self._send(case)

        with suppress(hypothesis.errors.Unsatisfiable):  # it takes nothing that could be wrong
            try_each()

    def _mine(self, operation: Operation) -> Mapping[str, str]:
        owner = self._charge if self._is_operators(operation) else self._caller
        return {**NOBODYS, **owner.ids, "model": MODEL}

    def _is_operators(self, operation: Operation) -> bool:
        return "admin_token" in security_of(operation.definition.raw)

    def _send(self, case: AnyCase) -> None:
        operation = case.operation
        operators = self._is_operators(operation)
        headers = self._operator if operators else self._caller.headers
        answer = case.call(self._url, headers=dict(headers))
        self.asked.add(operation.label)
        self.had.add((operation.label, answer.status_code))
        try:
            case.validate_response(answer, checks=CHECKS)
        except (Failure, FailureGroup) as failure:
            reasons = getattr(failure, "exceptions", [failure])
            self.found += [f"{operation.label}: {type(one).__name__}: {one}" for one in reasons]
        asked = f"{answer.request.url} {answer.request.body!r}"
        if not operators and (
            told := self._other.told_by(f"{answer.headers} {answer.text}", asked)
        ):
            self.found.append(f"{operation.label} tells {told}")


async def _neighbours(town: Town, url: str, only: str = "") -> Neighbours:
    caller, other, charge = [await town.tenant(name) for name in ("cleo", "otto", "char")]
    neighbours = Neighbours(town, url, caller=caller, other=other, charge=charge)
    await asyncio.to_thread(neighbours.ask, only)
    return neighbours


async def test_everything_answers_as_the_document_says(town: Town) -> None:
    neighbours = await _neighbours(town, town.system.url)

    assert not neighbours.found, "\n\n".join(neighbours.found)
    # or half of the document was not looked at
    succeeded = {name for name, status in neighbours.had if status < 300}
    missing = neighbours.asked - succeeded - NOT_HAD
    assert not missing, "say in `tests.system.routes.BODIES` what they take"
    assert ("POST /v1/{model}/echo", 202) in neighbours.had


async def _another_body() -> Response[Balance]:
    body: Any = {"credit": 1}
    return Response(body)


async def _another_media_type() -> Response[Balance]:
    body: Any = "12.50"
    return Response(body, media_type="text/plain")


async def _another_status() -> Response[Balance]:
    raise NoSubscription("a 404 that this operation does not have")


async def _another_error() -> Response[Balance]:
    raise NotAdmin("a 401 that it has, by a code that it has not")


async def _breaks() -> Response[Balance]:
    raise RuntimeError


@pytest.mark.parametrize(
    ("handler", "failure"),
    [
        (_another_body, "JsonSchemaError"),
        (_another_media_type, "UndefinedContentType"),
        (_another_status, "UndefinedStatusCode"),
        (_another_error, "JsonSchemaError"),
        (_breaks, "ServerError"),
    ],
)
async def test_an_answer_that_the_document_does_not_have_is_found(
    town: Town, monkeypatch: pytest.MonkeyPatch, handler: Any, failure: str
) -> None:
    monkeypatch.setattr(balance, "endpoint", replace(balance.endpoint, handler=handler))
    tenant = await town.tenant("cleo")
    async with town.another_edge() as url:
        neighbours = Neighbours(town, url, caller=tenant, other=tenant, charge=tenant)
        await asyncio.to_thread(neighbours.ask, "/v1/balance")

    assert any(f"GET /v1/balance: {failure}" in found for found in neighbours.found)


async def test_a_status_that_is_another_ones_is_found(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if OpenAI's dialect were described by the statuses of our own."""
    monkeypatch.setattr(Endpoint, "status", lambda _, ours: ours)
    tenant = await town.tenant("cleo")
    async with town.another_edge() as url:
        neighbours = Neighbours(town, url, caller=tenant, other=tenant, charge=tenant)
        await asyncio.to_thread(neighbours.ask, "/v1/embeddings")

    said = "invalid_input is 400, and stands below ['422']"
    assert any(said in found for found in neighbours.found), neighbours.found


async def test_what_is_anothers_is_found(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    async def find_any(receipts: Receipts, request_id: str, _: Any) -> Any:
        return await find(receipts, request_id, None)

    find = Receipts.find
    monkeypatch.setattr(Receipts, "find", find_any)
    async with town.another_edge() as url:
        neighbours = await _neighbours(town, url, "/v1/usage/requests")

    assert any("GET /v1/usage/requests/{request_id} tells" in found for found in neighbours.found)

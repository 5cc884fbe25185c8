"""A key with a scope at every endpoint that is declared, so that new ones are covered."""

from uuid import UUID

import httpx
import pytest

from edge.documentation.requests import PARAMETER, request_of
from edge.endpoint import Endpoint, Perspective, Service, declared
from ledger.api_keys import create_key
from ledger.db import Connection
from tests.edge.running import KEY_SECRET, Edge

DECLARED = [
    endpoint
    for endpoint in declared(list(Service))
    if endpoint.perspective is Perspective.APPLICATION
]
OPEN = {"get_limits", "get_job"}  # think twice: such keys are in pages that everybody reads
UNSCOPED = "Whoever has an API key without a scope"


async def asked(edge: Edge, endpoint: Endpoint, api_key: str) -> httpx.Response:
    """What an endpoint answers to its example, for a model that does its task."""
    model = f"for-{endpoint.asks.name}" if endpoint.asks else "rogue"
    if endpoint.asks:
        await edge.announce(model=model, task=endpoint.asks.name)
    request = request_of(endpoint, answer="json", model=model)
    path = PARAMETER.sub(
        lambda found: str(UUID(int=0)) if "_id" in found[1] else model, endpoint.path
    )
    async with edge.client(Authorization=f"Bearer {api_key}") as client:
        return await client.request(endpoint.method, path, json=request.body)


async def test_a_scope_shuts_all_that_is_not_in_it(
    edge: Edge, ledger: Connection, subtests: pytest.Subtests
) -> None:
    _, scoped = await create_key(
        ledger, edge.account.id, "", KEY_SECRET.encode(), scope=("something-else",)
    )
    for endpoint in DECLARED:
        with subtests.test(endpoint.name):
            answer = await asked(edge, endpoint, scoped)
            code = answer.json()["code"] if answer.is_client_error else answer.status_code
            assert (code != "not_in_scope") == (endpoint.name in OPEN), answer.text
            if endpoint.asks is None:
                control = await asked(edge, endpoint, edge.api_key)
                assert control.status_code not in {401, 403}, control.text
    assert await edge.metered() == 0


async def test_the_pages_say_who_is_shut_out(edge: Edge) -> None:
    async with edge.client() as client:
        document = (await client.get("/openapi.json")).json()
        pages = {one.name: (await client.get(f"/docs/{one.name}")).text for one in DECLARED}
    told = {
        operation["operationId"]
        for item in document["paths"].values()
        for operation in item.values()
        if "not_in_scope" in operation["responses"].get("403", {}).get("description", "")
    }

    assert {one.name for one in DECLARED} - told == OPEN
    assert {name for name, page in pages.items() if UNSCOPED in page} == {
        one.name for one in DECLARED if one.asks is None
    } - OPEN

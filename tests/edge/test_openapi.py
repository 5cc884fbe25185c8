"""The OpenAPI document says what the types say, and what is answered."""

from typing import Any

import jsonschema_rs
import pytest

from events.inference import Refused
from tests.edge.running import Edge, reply

SPOKEN: dict[str, Any] = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "Hello"}]},
    "/v1/completions": {"prompt": "Hello"},
    "/v1/embeddings": {"input": "Hello"},
}


@pytest.fixture
async def document(edge: Edge) -> Any:
    async with edge.client() as client:
        return (await client.get("/openapi.json")).json()


async def test_types_are_described_as_they_are_decoded_and_as_the_source_says(
    document: Any,
) -> None:
    schemas = document["components"]["schemas"]
    changes = schemas["Changes"]["properties"]
    concurrency = {"type": "integer", "minimum": 1, "maximum": 100_000}

    assert changes["concurrency"]["anyOf"] == [concurrency, {"type": "null"}]
    assert changes["monthly_budget"]["description"] == 'like "12.50"'
    assert schemas["Changes"]["additionalProperties"] is False
    assert schemas["NewKey"]["properties"]["scope"]["items"]["maxLength"] == 200
    assert schemas["UsagePage"]["description"].startswith("Whole buckets")
    assert schemas["UsagePage"]["properties"]["from"]["format"] == "date-time"
    assert schemas["UsageRow"]["properties"]["cost"]["description"] == "in the currency's unit"
    assert schemas["EntitiesInput"]["properties"]["text"]["description"] == "Not blank."


async def test_openais_dialect_lists_what_is_wrong_by_the_status_that_it_has_there(
    edge: Edge, document: Any, subtests: pytest.Subtests
) -> None:
    async with edge.client() as client:
        for path, body in SPOKEN.items():
            responses = document["paths"][path]["post"]["responses"]
            with subtests.test(path):
                for wrong in ({}, {**body, "model": "a\0"}, {**body, "model": "a", "best_of": 2}):
                    answer = await client.post(path, json=wrong)
                    assert f"`{answer.json()['code']}`" in responses["400"]["description"], wrong
                assert "422" not in responses
                assert "language_not_spoken" not in str(responses)


@pytest.mark.parametrize("status", [413, 422])
async def test_models_refuse_by_codes_of_their_own(edge: Edge, document: Any, status: int) -> None:
    async def refuse(message: Any, _: Any) -> None:
        await reply(message, Refused("too_dull", "Say something else.", status))

    await edge.serve(refuse)
    async with edge.client() as client:
        answer = await client.post("/v1/rogue/echo", json={"text": "hello"})

    responses = document["paths"]["/v1/{model}/echo"]["post"]["responses"]
    (content,) = responses[str(status)]["content"].values()
    assert answer.status_code == status
    jsonschema_rs.validate(
        {**content["schema"], "components": document["components"]}, answer.json()
    )

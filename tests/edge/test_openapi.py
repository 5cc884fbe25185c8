"""The OpenAPI document says what the types say."""

from typing import Any

import pytest

from tests.edge.running import Edge


@pytest.fixture
async def schemas(edge: Edge) -> Any:
    async with edge.client() as client:
        document = (await client.get("/openapi.json")).json()
    return document["components"]["schemas"]


async def test_types_are_described_as_they_are_decoded_and_as_the_source_says(schemas: Any) -> None:
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

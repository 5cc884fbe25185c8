"""The whole road on real parts, as a caller and an operator walk it."""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from typing import Any
from uuid import UUID

import httpx

from tests.sse import events_of
from tests.system.system import TOKENS, System
from tests.waiting import PATIENCE_S


async def rows(system: System, query: str, *arguments: Any) -> list[Any]:
    connection = await system.database()
    try:
        return list(await connection.fetch(query, *arguments))
    finally:
        await connection.close()


async def some(system: System, query: str, *arguments: Any) -> list[Any]:
    """The rows of a query, once there are any."""
    async with asyncio.timeout(PATIENCE_S):
        while not (found := await rows(system, query, *arguments)):
            await asyncio.sleep(0.1)
    return found


def cosine(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


async def test_a_caller_gets_entities_and_the_ledger_has_the_answer_once(
    client: httpx.AsyncClient, system: System
) -> None:
    text = "Ada Lovelace met Charles Babbage in London."

    response = await client.post("/v1/en_core_web_sm/entities", json={"text": text})

    assert response.status_code == 200, response.text
    found = {(entity["type"], entity["text"]) for entity in response.json()["entities"]}
    assert {("PERSON", "Charles Babbage"), ("GPE", "London")} <= found
    for entity in response.json()["entities"]:
        assert text[entity["start"] : entity["end"]] == entity["text"]
    request_id = UUID(response.headers["x-request-id"])
    (row,) = await some(system, "SELECT * FROM usage_events WHERE request_id = $1", request_id)
    assert row["account_id"] == UUID(system.account_id)
    assert row["key_id"] == system.api_key.split("_")[1]
    assert (row["model"], row["task"]) == ("en_core_web_sm", "entities")
    assert (row["requests"], row["input_words"]) == (1, 7)
    assert row["input_characters"] == len(text)


async def test_similar_sentences_have_similar_embeddings(client: httpx.AsyncClient) -> None:
    sentences = ["A cat sits on the mat.", "A kitten rests on a rug.", "Stocks fell sharply."]

    response = await client.post("/v1/all-MiniLM-L6-v2/embeddings", json={"sentences": sentences})

    cat, kitten, stocks = response.json()["embeddings"]
    assert len(cat) == 384
    assert cosine(cat, kitten) > 0.5
    assert cosine(cat, stocks) < 0.3


async def test_a_searched_entity_may_be_null_and_narrows_the_answer(
    client: httpx.AsyncClient,
) -> None:
    body: dict[str, Any] = {"text": "Marie Curie was born in Warsaw.", "searched_entity": None}
    every = await client.post("/v1/en_core_web_sm/entities", json=body)
    body["searched_entity"] = "GPE"
    places = await client.post("/v1/en_core_web_sm/entities", json=body)
    body["searched_entity"] = "NONSENSE"
    refused = await client.post("/v1/en_core_web_sm/entities", json=body)

    assert {entity["type"] for entity in every.json()["entities"]} >= {"PERSON", "GPE"}
    assert {entity["type"] for entity in places.json()["entities"]} == {"GPE"}
    assert refused.status_code == 422
    assert refused.json()["error"]["param"] == "searched_entity"


async def test_a_text_is_generated_at_once_or_as_a_stream_and_billed_alike(
    client: httpx.AsyncClient, system: System
) -> None:
    body = {"text": "The capital of France is", "max_length": 12, "temperature": 0}
    path = "/v1/SmolLM2-135M-Instruct/generation"
    whole = await client.post(path, json={**body, "remove_input": True})
    async with client.stream("POST", path, json={**body, "stream": True}) as response:
        *pieces, end = [event async for event in events_of(response)]

    text = whole.json()["generated_text"]
    assert "Paris" in text
    assert "".join(piece.data["text"] for piece in pieces) == text
    assert (end.name, end.data["reason"]) == ("end", "length")
    assert end.data["usage"]["output_tokens"] == whole.json()["nb_generated_tokens"] == 12
    for answer in (whole, response):
        query = """SELECT sum(requests)::int AS requests, sum(output_tokens)::int AS output_tokens,
            sum(input_words)::int AS input_words FROM usage_events WHERE request_id = $1
            HAVING sum(duration_ms) > 0"""
        (billed,) = await some(system, query, UUID(answer.headers["x-request-id"]))
        assert tuple(billed) == (1, 12, 5)


async def test_a_budget_ends_a_stream_of_a_real_model_at_the_token(system: System) -> None:
    async with system.client(system.admin_headers) as admin:
        account = {"name": "Budgeted", "plan": "by-the-token"}
        account = (await admin.post("/v1/admin/accounts", json=account)).json()
        made = await admin.post(f"/v1/admin/accounts/{account['id']}/keys", json={"name": "k"})
    headers = {"Authorization": f"Bearer {made.json()['api_key']}"}
    body = {"text": "Once upon a time", "max_length": 200, "stream": True}
    async with (
        httpx.AsyncClient(base_url=system.url, headers=headers, timeout=PATIENCE_S) as client,
        client.stream("POST", "/v1/SmolLM2-135M-Instruct/generation", json=body) as response,
    ):
        *pieces, end = [event async for event in events_of(response)]

    assert pieces
    assert (end.name, end.data["reason"], end.data["policy"]) == ("end", "budget", "monthly_budget")
    assert end.data["usage"]["output_tokens"] <= TOKENS
    query = """SELECT sum(output_tokens)::int AS tokens FROM usage_totals
        WHERE account_id = $1 HAVING sum(output_tokens) >= $2"""
    used = end.data["usage"]["output_tokens"]
    (total,) = await some(system, query, UUID(account["id"]), used)
    assert TOKENS - 3 <= used == total["tokens"]


async def test_the_gpu_route_is_the_same_route(client: httpx.AsyncClient) -> None:
    response = await client.post("/v1/gpu/echo/echo", json={"text": "hello"})

    assert response.json() == {"text": "hello"}
    assert "compute;dur=" in response.headers["server-timing"]


async def test_one_key_opens_by_bearer_by_token_and_as_a_basic_user(system: System) -> None:
    basic = base64.b64encode(f"{system.api_key}:".encode()).decode()
    async with system.client({}) as client:
        for value in (f"Bearer {system.api_key}", f"Token {system.api_key}", f"Basic {basic}"):
            headers = {"Authorization": value}
            response = await client.post("/v1/echo/echo", json={"text": "hi"}, headers=headers)
            assert response.status_code == 200, value


async def test_usage_counts_what_a_new_account_did_and_nothing_else(system: System) -> None:
    async with system.client(system.admin_headers) as admin:
        account = (await admin.post("/v1/admin/accounts", json={"name": "Hopper"})).json()
        made = await admin.post(f"/v1/admin/accounts/{account['id']}/keys", json={"name": "k"})
    headers = {"Authorization": f"Bearer {made.json()['api_key']}"}
    async with system.client(headers) as client:
        for _ in range(3):
            await client.post("/v1/echo/echo", json={"text": "two words"})
        await client.post("/v1/echo/echo", json={"text": ""})  # refused, so free
        await some(
            system,
            "SELECT 1 FROM usage_totals WHERE account_id = $1 HAVING sum(requests) = 3",
            UUID(account["id"]),
        )
        page = (await client.get("/v1/usage", params={"bucket": "day"})).json()

    assert page["has_more"] is False
    assert sum(bucket["requests"] for bucket in page["data"]) == 3
    assert sum(bucket["input_words"] for bucket in page["data"]) == 6


async def test_a_revoked_key_is_refused_within_its_time_to_live(system: System) -> None:
    async with system.client(system.admin_headers) as admin:
        path = f"/v1/admin/accounts/{system.account_id}/keys"
        made = (await admin.post(path, json={})).json()
        headers = {"Authorization": f"Bearer {made['api_key']}"}
        async with system.client(headers) as client:
            first = await client.post("/v1/echo/echo", json={"text": "hi"})
            await admin.delete(f"/v1/admin/keys/{made['key']['id']}")
            async with asyncio.timeout(PATIENCE_S):
                while (last := await client.post("/v1/echo/echo", json={"text": "hi"})).is_success:
                    await asyncio.sleep(0.2)

    assert first.status_code == 200
    assert (last.status_code, last.json()["code"]) == (401, "revoked_key")


async def test_a_signed_stripe_event_is_journaled_once_and_its_object_kept(
    system: System,
) -> None:
    event = {
        "id": "evt_road",
        "object": "event",
        "type": "customer.created",
        "created": int(time.time()),
        "data": {"object": {"id": "cus_road", "object": "customer", "email": "ada@example.com"}},
    }
    body = json.dumps(event).encode()
    now = int(time.time())
    signed = hmac.new(
        system.secret("stripe_webhook_secret").encode(), f"{now}.".encode() + body, hashlib.sha256
    ).hexdigest()
    async with system.client({}) as stripe:
        for _ in range(3):  # Stripe repeats itself
            response = await stripe.post(
                "/webhooks/stripe",
                content=body,
                headers={"Stripe-Signature": f"t={now},v1={signed}"},
            )
            assert response.status_code == 202, response.text

    (kept,) = await some(system, "SELECT * FROM stripe_objects WHERE id = 'cus_road'")
    assert json.loads(kept["object"])["email"] == "ada@example.com"
    journal = await rows(system, "SELECT * FROM stripe_events WHERE id = 'evt_road'")
    assert len(journal) == 1


async def test_models_lists_what_is_declared_and_what_runs(client: httpx.AsyncClient) -> None:
    models = (await client.get("/v1/models")).json()["data"]

    assert {model["id"]: model["running"] for model in models} == {
        "en_core_web_sm": True,
        "all-MiniLM-L6-v2": True,
        "py3langid": True,
        "SmolLM2-135M-Instruct": True,
        "apertium": True,
        "echo": True,
    }


async def test_the_documentation_renders_without_the_internet(client: httpx.AsyncClient) -> None:
    pages = [(await client.get(path)).text for path in ("/docs", "/docs/entities", "/docs/try")]
    links = {
        part.split('"')[0]
        for page in pages
        for part in page.replace("src=", "href=").split('href="')[1:]
    }
    document = (await client.get("/openapi.json")).json()

    assert links
    for link in links:
        if not link.startswith("#"):
            assert link.startswith("/")
            assert (await client.get(link)).status_code == 200, link
    assert document["openapi"].startswith("3.1")
    assert "/v1/{model}/entities" in document["paths"]
    assert "/v1/usage" in document["paths"]


async def test_probes_and_metrics_answer(client: httpx.AsyncClient) -> None:
    assert (await client.get("/healthz")).status_code == 200
    assert (await client.get("/readyz")).status_code == 200
    metrics = (await client.get("/metrics")).text
    assert 'tollgate_requests_total{endpoint="readyz",status="200"}' in metrics

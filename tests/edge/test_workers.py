"""Workers answer, refuse, raise, lie, die and fall silent; callers hear which."""

import asyncio
import json
import time
from collections.abc import AsyncIterator

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from events import inference
from events.inference import SILENCE_S, Ask, Busy, Expired, Failed, Refused, Working
from ledger.db import Connection
from tests.edge.running import Edge, answered, reply, running

ECHO = {"text": "hello"}


@pytest.fixture
async def short_edge(
    nats: Client, nats_url: str, database_url: str, ledger: Connection
) -> AsyncIterator[Edge]:
    """One whose deadlines end soon."""
    async with running(nats, nats_url, database_url, ledger, deadline_s=2.0) as started:
        yield started


async def test_a_worker_that_announces_itself_is_asked_at_once(edge: Edge) -> None:
    async def answer(message: Msg, ask: Ask) -> None:
        assert ask.account_id == edge.account.id
        assert ask.deadline > time.time()
        await reply(message, answered(ask.input))

    await edge.serve(answer, model="custom_model/7")
    async with edge.client() as client:
        response = await client.post("/v1/custom_model%2F7/echo", json=ECHO)

    assert response.status_code == 200, response.text
    assert response.json() == ECHO
    assert await edge.metered() == 1


@pytest.mark.parametrize(
    "result",
    [b"", b"{}", b"[]", b'{"text": 1}', b'{"text": "a", "more": 1}', b'{"text": "\xff"}'],
)
async def test_an_answer_of_the_wrong_shape_is_a_502_and_not_billed(
    edge: Edge, result: bytes
) -> None:
    async def answer(message: Msg, _: Ask) -> None:
        await reply(message, answered(result))

    await edge.serve(answer)
    async with edge.client() as client:
        response = await client.post("/v1/rogue/echo", json=ECHO)
        metrics = (await client.get("/metrics")).text

    assert (response.status_code, response.json()["code"]) == (502, "bad_reply")
    assert await edge.metered() == 0
    assert 'tollgate_bad_replies_total{model="rogue",task="echo"}' in metrics


async def test_an_envelope_that_is_none_is_a_502(edge: Edge) -> None:
    async def answer(message: Msg, _: Ask) -> None:
        await message.respond(b"what?")

    await edge.serve(answer)
    async with edge.client() as client:
        response = await client.post("/v1/rogue/echo", json=ECHO)

    assert (response.status_code, response.json()["code"]) == (502, "bad_reply")


@pytest.mark.parametrize(
    ("said", "status", "code"),
    [
        (Refused("too_rude", "be polite", 422, "text"), 422, "too_rude"),
        (Refused("too_big", "shorten it", 413), 413, "too_big"),
        (Failed(), 502, "model_failed"),
        (Expired(), 504, "deadline_passed"),
        (Busy(7, 50.0), 503, "model_busy"),
    ],
)
async def test_what_a_worker_says_reaches_the_caller_and_is_not_billed(
    hasty_edge: Edge, said: inference.Reply, status: int, code: str
) -> None:
    async def answer(message: Msg, _: Ask) -> None:
        await reply(message, said)

    await hasty_edge.serve(answer)
    async with hasty_edge.client() as client:
        response = await client.post("/v1/rogue/echo", json=ECHO)

    assert (response.status_code, response.json()["code"]) == (status, code)
    assert ("retry-after" in response.headers) == (status == 503)
    assert await hasty_edge.metered() == 0


async def test_a_busy_worker_is_asked_again_until_it_has_room(edge: Edge) -> None:
    asked = 0

    async def answer(message: Msg, ask: Ask) -> None:
        nonlocal asked
        asked += 1
        await reply(message, Busy(1, 1.0) if asked < 4 else answered(ask.input))

    await edge.serve(answer)
    async with edge.client() as client:
        response = await client.post("/v1/rogue/echo", json=ECHO)

    assert (response.status_code, asked) == (200, 4)
    assert await edge.metered() == 1


async def test_a_declared_model_that_nobody_serves_is_a_503(hasty_edge: Edge) -> None:
    await hasty_edge.announce(model="away", hold_s=-1)

    async with hasty_edge.client() as client:
        response = await client.post("/v1/away/echo", json=ECHO)
        models = (await client.get("/v1/models")).json()["data"]

    assert (response.status_code, response.json()["code"]) == (503, "model_not_running")
    assert [model["running"] for model in models] == [False]


async def test_a_worker_that_hangs_is_a_504_at_the_deadline(short_edge: Edge) -> None:
    async def answer(message: Msg, ask: Ask) -> None:
        while time.time() < ask.deadline + 1:
            await reply(message, Working())
            await asyncio.sleep(0.2)

    await short_edge.serve(answer)
    async with short_edge.client() as client:
        response = await client.post("/v1/rogue/echo", json=ECHO)

    assert (response.status_code, response.json()["code"]) == (504, "deadline_passed")
    assert await short_edge.metered() == 0


async def test_an_answer_after_the_deadline_is_not_billed(short_edge: Edge) -> None:
    late = asyncio.Event()

    async def answer(message: Msg, ask: Ask) -> None:
        await asyncio.sleep(ask.deadline - time.time() + 0.1)
        await reply(message, answered(ask.input))
        late.set()

    await short_edge.serve(answer)
    async with short_edge.client() as client:
        response = await client.post("/v1/rogue/echo", json=ECHO)
        await late.wait()
        await client.get("/healthz")

    assert response.status_code == 504
    assert await short_edge.metered() == 0


async def test_a_worker_that_dies_is_a_502_and_not_waited_for_until_the_deadline(
    edge: Edge,
) -> None:
    async def answer(message: Msg, _: Ask) -> None:
        await reply(message, Working())  # taken; and then nothing, ever

    await edge.serve(answer)
    async with edge.client() as client:
        response = await client.post("/v1/rogue/echo", json=ECHO)

    assert (response.status_code, response.json()["code"]) == (502, "worker_gone")
    assert await edge.metered() == 0


async def test_a_slow_worker_with_a_heartbeat_is_waited_for(edge: Edge) -> None:
    async def answer(message: Msg, ask: Ask) -> None:
        until = time.monotonic() + SILENCE_S + 1.5
        while time.monotonic() < until:
            await reply(message, Working())
            await asyncio.sleep(inference.HEARTBEAT_S)
        await reply(message, answered(ask.input))

    await edge.serve(answer)
    async with edge.client() as client:
        response = await client.post("/v1/rogue/echo", json=ECHO)

    assert response.status_code == 200
    assert await edge.metered() == 1


async def test_errors_have_every_field_that_clients_look_for(edge: Edge) -> None:
    async with edge.client() as client:
        response = await client.post("/v1/nobody/echo", json=ECHO)

    problem = json.loads(response.content)
    assert response.headers["content-type"] == "application/problem+json"
    assert problem["type"] == "urn:tollgate:error:unknown_model"
    assert problem["title"] == "No such model"
    assert problem["status"] == response.status_code == 404
    assert problem["detail"] == problem["message"] == problem["error"]["message"]
    assert problem["instance"] == f"urn:uuid:{problem['request_id']}"
    assert problem["request_id"] == response.headers["x-request-id"]
    assert problem["code"] == "unknown_model"
    assert problem["error"]["code"] == "model_not_found"  # as OpenAI has it
    assert problem["error"]["type"] == "invalid_request_error"
    assert problem["error"]["param"] == "model"


async def test_a_path_may_name_a_language_and_a_model_that_does_not_read_it_refuses(
    edge: Edge, subtests: pytest.Subtests
) -> None:
    async def answer(message: Msg, ask: Ask) -> None:
        await reply(message, answered(ask.input))

    await edge.serve(answer, model="english", languages=("en", "eng_Latn"))
    await edge.serve(answer, model="polyglot")
    async with edge.client() as client:
        for path in (
            "/v1/en/english/echo",
            "/v1/gpu/en/english/echo",
            "/v1/eng_Latn/english/echo",
            "/v1/fr/polyglot/echo",
        ):
            with subtests.test(path=path):
                assert (await client.post(path, json=ECHO)).status_code == 200
        refused = await client.post("/v1/fr/english/echo", json=ECHO)
        models = (await client.get("/v1/models")).json()["data"]

    assert (refused.status_code, refused.json()["code"]) == (422, "language_not_spoken")
    assert refused.json()["error"]["param"] == "lang"
    assert "reads en, eng_Latn" in refused.json()["message"]
    assert {model["id"]: model["languages"] for model in models} == {
        "english": ["en", "eng_Latn"],
        "polyglot": [],
    }
    assert await edge.metered() == 4

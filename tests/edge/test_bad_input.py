"""Whatever comes in: a 4xx of its own in the one shape, and never a 5xx, a hang or a bill."""

import asyncio
import gzip
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import product

import pytest
from nats.aio.msg import Msg

from events.inference import Ask
from ledger import key_format
from ledger.api_keys import create_key, revoke_key
from ledger.db import Connection
from tests.edge.running import ADMIN_TOKEN, KEY_SECRET, WEBHOOK_SECRET, Edge, answered, reply
from tests.waiting import PATIENCE_S, until

MIB = 2**20


async def echo(message: Msg, ask: Ask) -> None:
    await reply(message, answered(ask.input))


@pytest.fixture
async def edge(edge: Edge) -> Edge:
    await edge.serve(echo, model="good")
    return edge


BODIES = [
    (b"", 400, "malformed_json"),
    (b"{", 400, "malformed_json"),
    (b"\0", 400, "malformed_json"),
    (b'{"text": "\xff"}', 400, "malformed_json"),
    (b'{"text": "a\\u0000"}', 422, "nul_character"),
    (b'{"text": ' + b"[" * MIB, 422, "invalid_input"),
    (b"[" * MIB, 422, "invalid_input"),
    (b'{"text": ""}', 422, "invalid_input"),
    (b'{"text": "  "}', 422, "invalid_input"),
    (b'{"text": 1}', 422, "invalid_input"),
    (b'{"text": "a", "b": ' + b"[" * MIB + b"]" * MIB + b"}", 422, "invalid_input"),
    (b'{"text": "a"}' + b" " * 11 * MIB, 413, "body_too_large"),
]


async def test_a_bad_body_is_refused(edge: Edge, subtests: pytest.Subtests) -> None:
    async with edge.client() as client:
        for body, status, code in BODIES:
            with subtests.test(body=body[:20]):
                whole = await client.post("/v1/good/echo", content=body)
                streamed = await client.post("/v1/good/echo", content=_in_chunks(body))
                for answer in (whole, streamed):
                    assert (answer.status_code, answer.json()["code"]) == (status, code)
                    assert answer.headers["x-request-id"] == answer.json()["request_id"]

    assert await edge.metered() == 0


CHUNKED = "Transfer-Encoding: chunked"
OTHERS = [
    (b"", 400, "invalid_parameter"),
    (b"{", 400, "malformed_json"),
    (b"[" * MIB, 400, "malformed_json"),
    (b'{"monthly": ' + b"[" * 900 + b'"\\u0000"' + b"]" * 900 + b"}", 400, "malformed_json"),
    (b'{"monthly": "\xff"}', 400, "malformed_json"),
    (b'{"monthly": "\\ud800"}', 400, "malformed_json"),
    (b'{"monthly": "\\u0000"}', 422, "nul_character"),
    (b'{"\\u0000": 1}', 422, "nul_character"),
    (b'{"monthly": 1}', 400, "invalid_parameter"),
    (b'{"monthly": "1"}' + b" " * 11 * MIB, 413, "body_too_large"),
]


async def test_so_is_one_that_no_model_is_asked(edge: Edge, subtests: pytest.Subtests) -> None:
    async with edge.client() as client:
        for body, status, code in OTHERS:
            with subtests.test(body=body[:20]):
                whole = await client.put("/v1/budget", content=body)
                streamed = await client.put("/v1/budget", content=_in_chunks(body))
                for answer in (whole, streamed):
                    assert (answer.status_code, answer.json()["code"]) == (status, code)
        compressed = {"Content-Encoding": "gzip"}
        answer = await client.put("/v1/budget", content=gzip.compress(b"{}"), headers=compressed)
        assert (answer.status_code, answer.json()["code"]) == (415, "compressed_body")


@pytest.mark.parametrize(
    ("request_line", "rest", "endpoint"),
    [
        ("PUT /v1/budget", "Content-Length: 9\r\n\r\n{", "put_budget"),
        ("POST /webhooks/stripe", "Content-Length: 9\r\n\r\n{", "receive_stripe_event"),
        # this one is refused before it is told to go on
        ("POST /v1/good/echo", f"Expect: 100-continue\r\n{CHUNKED}\r\n\r\nzz\r\n", "echo"),
    ],
)
async def test_who_leaves_before_the_end_of_a_body_is_no_fault_of_ours(
    edge: Edge, request_line: str, rest: str, endpoint: str
) -> None:
    answered = f'tollgate_requests_total{{endpoint="{endpoint}",status='

    async def counted() -> set[str]:
        async with edge.client() as client:
            lines = (await client.get("/metrics")).text.splitlines()
        return {line for line in lines if line.startswith(answered)}

    before = await counted()  # of other tests in this process
    _, writer = await asyncio.open_connection("127.0.0.1", edge.port)
    said = f"Authorization: Bearer {edge.api_key}\r\nStripe-Signature: t={time.time():.0f},v1=00"
    writer.write(f"{request_line} HTTP/1.1\r\nHost: x\r\n{said}\r\n{rest}".encode())
    await writer.drain()
    if CHUNKED not in rest:  # else the edge has hung up by itself
        writer.close()

    async def news() -> set[str]:
        return await counted() - before

    await until(lambda: _any(news))
    writer.close()
    assert not [line for line in await news() if 'status="5' in line]


async def _any(find: Callable[[], Awaitable[set[str]]]) -> bool:
    return any('status="499"' in line for line in await find())


async def _in_chunks(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), MIB):
        yield body[start : start + MIB]


async def test_a_compressed_body_is_refused(edge: Edge, subtests: pytest.Subtests) -> None:
    body = gzip.compress(b'{"text": "a"}')
    async with edge.client() as client:
        for encoding in ("gzip", "br", "deflate", "zstd", "GZIP", "identity, gzip"):
            with subtests.test(encoding=encoding):
                headers = {"Content-Encoding": encoding}
                response = await client.post("/v1/good/echo", content=body, headers=headers)
                assert (response.status_code, response.json()["code"]) == (415, "compressed_body")


ASKED = [
    ("generation", {"text": "a", "temperature": -1}, "temperature"),
    ("generation", {"text": "a", "temperature": "warm"}, "temperature"),
    ("generation", {"text": "a", "num_return_sequences": 10**9}, "num_return_sequences"),
    ("generation", {"text": "a", "num_beams": 0}, "num_beams"),
    ("generation", {"text": "a", "max_length": 10**12}, "max_length"),
    ("generation", {"text": "a", "top_p": 0}, "top_p"),
    ("generation", {"text": "a", "top_k": -1}, "top_k"),
    ("generation", {"text": "a", "repetition_penalty": 0}, "repetition_penalty"),
    ("generation", {"text": "a", "seed": -1}, "seed"),
    ("generation", {"text": "a", "end_sequence": "stop" * 100}, "end_sequence"),
    ("generation", {"text": "a", "end_sequence": ""}, "end_sequence"),
    ("generation", {"text": "a", "end_sequence": ["."] * 10_000}, "end_sequence"),
    ("generation", {"text": "a", "bad_words": ["bad"] * 10_000}, "bad_words"),
    ("generation", {"text": "a", "bad_words": [""]}, "bad_words[0]"),
    ("generation", {"text": "a", "bad_words": ["b" * 10_000]}, "bad_words[0]"),
    ("generation", {"text": "a " * 100_000}, "text"),
    ("generation", {"text": "a", "do_sample": True}, "do_sample"),
    ("generation", {"text": "a", "min_length": 3}, "min_length"),
    ("chatbot", {"input": ""}, "input"),
    ("chatbot", {"text": "a"}, "text"),
    ("chatbot", {"input": "a", "history": [{"input": "b"}]}, "history[0].response"),
    ("chatbot", {"input": "a", "history": [{"input": "", "response": ""}] * 9_999}, "history"),
    ("chatbot", {"input": "a", "context": "b" * 100_001}, "context"),
    ("summarization", {"text": "a", "size": "huge"}, "size"),
    ("summarization", {"text": "a", "stream": True}, "stream"),
    ("paraphrasing", {"text": "\t"}, "text"),
    ("question", {"context": "a"}, "question"),
    ("question", {"question": "a", "context": " "}, "context"),
    ("kw-kp-extraction", {"text": ["a"]}, "text"),
    ("translation", {"text": "a"}, "target"),
    ("translation", {"text": " ", "target": "en"}, "text"),
    ("translation", {"text": "a", "target": "English"}, "target"),
    ("translation", {"text": "a", "target": ""}, "target"),
    ("translation", {"text": "a", "target": "en", "source": "../fr"}, "source"),
    ("translation", {"text": "a", "target": "en", "source": "en"}, "target"),
    ("translation", {"text": "a" * 100_001, "target": "en"}, "text"),
]


async def test_a_bad_field_is_refused_by_its_name(edge: Edge, subtests: pytest.Subtests) -> None:
    for task in {task for task, _, _ in ASKED}:
        await edge.serve(echo, model=task, task=task)
    async with edge.client() as client:
        for task, body, param in ASKED:
            with subtests.test(task=task, param=param, body=str(body)[:60]):
                answer = await client.post(f"/v1/{task}/{task}", json=body)
                refused = answer.json()
                assert (answer.status_code, refused["code"]) == (422, "invalid_input")
                assert refused["error"]["param"] == param
                assert len(refused["message"]) < 300

    assert await edge.metered() == 0


@pytest.mark.parametrize("half", ["\\ud83d", "\\ude00", "\\ude00\\ud83d"])
async def test_half_a_character_is_refused(edge: Edge, half: str) -> None:
    async with edge.client() as client:
        answer = await client.post("/v1/good/echo", content=f'{{"text": "a{half}"}}'.encode())

    assert (answer.status_code, answer.json()["code"]) == (400, "malformed_json")


PATHS = [
    ("/v1/*/echo", "unknown_model"),
    ("/v1/>/echo", "unknown_model"),
    ("/v1/good.*/echo", "unknown_model"),
    ("/v1/good%2Eecho/echo", "unknown_model"),
    ("/v1/%3E/echo", "unknown_model"),
    ("/v1/%00/echo", "unknown_model"),
    ("/v1/%FF/echo", "unknown_model"),
    ("/v1/good%20/echo", "unknown_model"),
    ("/v1/" + "m" * 5_000 + "/echo", "unknown_model"),
    ("/v1/good/nothing", "unknown_task"),
    ("/v1/good/entities", "unknown_task"),
    ("/v1/good/*", "unknown_task"),
    ("/v1/gpu/good/nothing", "unknown_task"),
    ("/v1/good", "not_found"),
    ("/v1//echo", "not_found"),
    ("/v1/good/echo/more", "not_found"),
    ("/v1/FR/good/echo", "not_found"),
    ("/v1/fr/models/echo", "not_found"),
    ("/v1/fr//echo", "not_found"),
    ("/v1/fr/nobody/echo", "unknown_model"),
    ("/nowhere", "not_found"),
    ("/v1/admin/nothing", "not_found"),
]


async def test_a_path_that_leads_nowhere_is_a_404(edge: Edge, subtests: pytest.Subtests) -> None:
    async with edge.client() as client:
        for path, code in PATHS:
            with subtests.test(path=path[:40]):
                response = await client.post(path, json={"text": "a"})
                assert (response.status_code, response.json()["code"]) == (404, code)


async def test_another_method_is_a_405(edge: Edge, subtests: pytest.Subtests) -> None:
    async with edge.client() as client:
        for path, method in product(
            ("/v1/good/echo", "/webhooks/stripe"), ("GET", "PUT", "DELETE", "PATCH")
        ):
            with subtests.test(path=path, method=method):
                response = await client.request(method, path)
                assert response.status_code == 405
                assert response.json()["code"] == "method_not_allowed"
                assert "POST" in response.headers["allow"].split(", ")


async def test_every_kind_of_bad_key_has_its_own_401(edge: Edge, ledger: Connection) -> None:
    stranger = key_format.mint(b"another secret").plain
    revoked, plain = await create_key(ledger, edge.account.id, "", KEY_SECRET.encode())
    await revoke_key(ledger, revoked.id)
    headers = {
        "missing_key": "",
        "malformed_key": f"Bearer {edge.api_key[:-1]}X",
        "unknown_key": f"Bearer {stranger}",
        "revoked_key": f"Bearer {plain}",
    }
    for code, value in headers.items():
        for path in ("/v1/good/echo", "/v1/usage"):
            async with edge.client(Authorization=value) as client:
                method = "POST" if path.endswith("echo") else "GET"
                response = await client.request(method, path)
            assert (response.status_code, response.json()["code"]) == (401, code)
            assert response.headers["www-authenticate"].startswith("Bearer")


async def test_a_key_is_no_admin_token(edge: Edge) -> None:
    async with edge.client() as client:
        refused = await client.post("/v1/admin/accounts", json={"name": "x"})
    async with edge.client(Authorization=f"Bearer {ADMIN_TOKEN}") as client:
        blank = await client.post("/v1/admin/accounts", json={"name": " "})
        unknown = await client.post("/v1/admin/accounts", json={"name": "x", "plan": "y"})
        nobody = await client.post(f"/v1/admin/accounts/{edge.key.account_id}x/keys", json={})
        no_key = await client.delete("/v1/admin/keys/nothing")

    assert (refused.status_code, refused.json()["code"]) == (401, "admin_token_needed")
    assert (blank.status_code, unknown.status_code) == (400, 422)
    assert nobody.status_code == no_key.status_code == 404


async def test_a_bad_query_names_its_parameter(edge: Edge, subtests: pytest.Subtests) -> None:
    async with edge.client() as client:
        for query in ("bucket=week", "from=yesterday", "to=%00", "limit=0", "limit=x"):
            with subtests.test(query=query):
                response = await client.get(f"/v1/usage?{query}")
                assert (response.status_code, response.json()["code"]) == (400, "invalid_parameter")
                assert response.json()["error"]["param"] == query.partition("=")[0]


def signed(body: bytes, secret: str = WEBHOOK_SECRET, age_s: int = 0) -> dict[str, str]:
    at = int(time.time()) - age_s
    digest = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return {"Stripe-Signature": f"t={at},v1={digest}"}


NOT_HTTP = [
    b"\0\0\0\0\r\n\r\n",
    b"GET\r\n\r\n",
    b"POST /v1/good/echo HTTP/1.1\r\nContent-Length: minus\r\n\r\n",
    b"POST /v1/good/echo HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
]


async def test_what_is_not_http_gets_the_same_shape_and_a_closed_door(
    edge: Edge, subtests: pytest.Subtests
) -> None:
    for request in NOT_HTTP:
        with subtests.test(request=request[:30]):
            reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
            writer.write(request)
            async with asyncio.timeout(PATIENCE_S):
                head, _, body = (await reader.read()).partition(b"\r\n\r\n")
            writer.close()
            await writer.wait_closed()

            assert head.startswith(b"HTTP/1.1 400 ")
            assert b"content-type: application/problem+json" in head
            assert json.loads(body)["code"] == "malformed_request"

"""Paths: what they call for, which are taken, and that every answer is sent at once."""

import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from edge import endpoint as frame
from edge.called import Called, called
from edge.endpoint import Endpoint, Service
from edge.server.http import Protocol
from events.ids import new_id
from events.models import CUSTOM, RESERVED
from tests.edge.running import ADMIN_TOKEN, Edge, answered, reply
from tests.edge.test_jobs import Counting

ENDPOINTS = frame.declared(list(Service))


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("/v1/m/t", Called("m", "t")),
        ("/v1/gpu/m/t", Called("m", "t")),
        ("/v1/async/m/t", Called("m", "t", asynchronous=True)),
        ("/v1/fr/m/t", Called("m", "t", "fr")),
        ("/v1/fra_Latn/m/t", Called("m", "t", "fra_Latn")),
        ("/v1/gpu/async/fr/m/t", Called("m", "t", "fr", asynchronous=True)),
        ("/v1/custom_model/7/t", Called("custom_model/7", "t")),
        (
            "/v1/gpu/async/fr/custom_model/7/t",
            Called("custom_model/7", "t", "fr", asynchronous=True),
        ),
        ("/v1/custom_model%2F7/t", Called("custom_model/7", "t")),
        ("/v1/a%2Fb/t", Called("a/b", "t")),
        ("/v1/m/kw-kp-extraction", Called("m", "kw-kp-extraction")),
    ],
)
def test_a_path_says_what_is_asked_and_how(path: str, meant: Called) -> None:
    assert called(path.encode()) == meant


@pytest.mark.parametrize(
    "path",
    [
        "/v1/m",
        "/v1/m/",
        "/v1/m/t/",
        "/v1//t",
        "/v1/gpu/t",
        "/v1/async/t",
        "/v1/async/gpu/m/t",
        "/v1/gpu/gpu/m/t",
        "/v1/custom_model/t",
        "/v1/custom_model//t",
        "/v1/custom_model/7/8/t",
        "/v1/a/b/t",
        "/v1/fr/de/m/t",
        "/v2/m/t",
        "/m/t",
    ],
)
def test_other_paths_ask_no_model(path: str) -> None:
    assert called(path.encode()) is None


def test_what_routes_are_called_no_model_is() -> None:
    first = {endpoint.path.split("/")[2] for endpoint in ENDPOINTS if "/v1/" in endpoint.path}

    assert first - {"{model}"} <= RESERVED
    assert {CUSTOM, "async", "gpu", "chat", "completions", "embeddings", "jobs"} <= {
        *RESERVED,
        CUSTOM,
    }
    for name in RESERVED:
        assert called(f"/v1/{name}/t".encode()) is None


def path_of(endpoint: Endpoint) -> str:
    """A path of an endpoint, with something in place of its parameters."""
    path = endpoint.path.replace("{model}", "good").replace("{model:path}", "good")
    return re.sub(r"{\w+(:\w+)?}", str(new_id()), path)


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What the edge hands to its sockets, call by call."""
    written: list[bytes] = []
    made = HttpToolsProtocol.connection_made

    def connection_made(protocol: HttpToolsProtocol, transport: Any) -> None:
        write: Callable[[bytes], None] = transport.write

        def note(data: bytes) -> None:
            written.append(bytes(data))
            write(data)

        transport.write = note
        made(protocol, transport)

    monkeypatch.setattr(HttpToolsProtocol, "connection_made", connection_made)
    assert issubclass(Protocol, HttpToolsProtocol)
    return written


@pytest.fixture
async def client(writes: list[bytes], edge: Edge) -> AsyncIterator[httpx.AsyncClient]:
    assert not writes
    await edge.serve(Counting(), model="good")
    async with edge.client() as made:
        yield made


async def test_head_and_body_leave_in_one_piece_and_nothing_redirects(
    writes: list[bytes], client: httpx.AsyncClient, subtests: pytest.Subtests
) -> None:
    async def ask(method: str, path: str, **more: Any) -> int:
        writes.clear()
        answer = await client.request(method, path, **more)
        assert len(writes) == 1, writes
        assert answer.status_code not in range(300, 400)
        return answer.status_code

    for endpoint in ENDPOINTS:
        path = path_of(endpoint)
        admin = {"Authorization": f"Bearer {ADMIN_TOKEN}"} if "/admin/" in path else {}
        body: dict[str, Any] = {"json": {}} if endpoint.method in {"POST", "PUT", "PATCH"} else {}
        with subtests.test(endpoint=endpoint.name):
            await ask(endpoint.method, path, **body, headers=admin)
            await ask(endpoint.method, path, **body, headers={"Authorization": ""})
            assert await ask(endpoint.method, f"{path}/", **body, headers=admin) == 404
    with subtests.test("others"):
        assert await ask("POST", "/v1/good/echo", json={"text": "hello"}) == 200
        assert await ask("POST", "/v1/async/good/echo", json={"text": "hello"}) == 202
        assert await ask("POST", "/v1/async/good/echo/", json={"text": "hello"}) == 404
        assert await ask("PATCH", "/v1/models") == 405
        assert await ask("GET", "/nowhere") == 404
        assert await ask("GET", "/") == 404
        assert await ask("HEAD", "/v1/models") in {200, 405}


async def test_a_slash_too_many_is_explained(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/models/")

    assert answer.status_code == 404
    assert "leave out the slash" in answer.json()["message"]


async def test_a_custom_model_is_asked_by_its_number(edge: Edge) -> None:
    async def echo(message: Any, ask: Any) -> None:
        await reply(message, answered(ask.input))

    await edge.serve(echo, model="custom_model/7")
    async with edge.client(Authorization=f"Token {edge.api_key}") as client:
        for path in ("/v1/custom_model/7/echo", "/v1/gpu/en/custom_model/7/echo"):
            answer = await client.post(path, json={"text": "hello"})
            assert answer.status_code == 200, answer.text


async def test_control_an_answer_that_leaves_in_two_pieces_is_found(
    writes: list[bytes], client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.front._is_whole", lambda *_: False)
    await client.get("/v1/models")
    writes.clear()
    await client.get("/v1/models")

    assert len(writes) == 2

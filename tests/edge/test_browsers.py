"""What browsers are told: which pages may ask, what may run, and what is not to be kept."""

import re
from collections.abc import AsyncIterator

import httpx
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from edge.cors import Cors
from edge.settings import BadSetting
from events.inference import Ask, Chunk, Ended, Timing
from events.usage import Quantities
from ledger.db import Connection
from tests.edge.raw import say
from tests.edge.running import Edge, answered, reply, running
from tests.waiting import PATIENCE_S

APP = "https://app.example"
PATH = "/v1/good/echo"
PREFLIGHT = {
    "Origin": APP,
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,content-type,x-stainless-os",
}


async def echo(message: Msg, ask: Ask) -> None:
    if ask.stream:
        used = Quantities(output_tokens=1)
        await reply(message, Chunk(0, b'{"text":"a"}', used))
        await reply(message, Ended("stop", 1, used, Timing()))
    else:
        await reply(message, answered(ask.input))


@pytest.fixture
async def open_edge(
    nats: Client, nats_url: str, database_url: str, ledger: Connection
) -> AsyncIterator[Edge]:
    origins = f"{APP}, http://localhost:3000"
    async with running(nats, nats_url, database_url, ledger, cors_origins=origins) as started:
        await started.serve(echo, model="good")
        await started.serve(echo, model="good", task="generation")
        yield started


async def answers(edge: Edge, **headers: str) -> dict[str, httpx.Response]:
    """One of each kind of answer."""
    async with edge.client() as client:
        client.headers.update(headers)
        return {
            "inference": await client.post(PATH, json={"text": "a"}),
            "a stream": await client.post(
                "/v1/good/generation", json={"text": "a", "stream": True}
            ),
            "a refusal": await client.post(PATH, json={}),
            "another": await client.get("/v1/usage"),
            "its refusal": await client.get("/v1/usage?limit=x"),
            "nothing": await client.get("/nowhere"),
            "a page": await client.get("/docs"),
            "a file": await client.get("/docs/assets/swagger-ui.css"),
        }


async def test_a_page_of_a_listed_origin_may_ask_and_read_the_answer(
    open_edge: Edge, subtests: pytest.Subtests
) -> None:
    for kind, answer in (await answers(open_edge, Origin=APP)).items():
        with subtests.test(kind):
            assert answer.headers["access-control-allow-origin"] == APP
            exposed = answer.headers["access-control-expose-headers"].split(", ")
            assert {"x-request-id", "retry-after", "ratelimit", "server-timing"} <= set(exposed)
            assert "origin" in answer.headers["vary"].lower()
            assert "access-control-allow-credentials" not in answer.headers
    assert (await answers(open_edge))["a stream"].text.count("event: end") == 1


async def test_a_browser_is_told_before_it_sends(
    open_edge: Edge, subtests: pytest.Subtests
) -> None:
    async with httpx.AsyncClient(base_url=open_edge.url, timeout=PATIENCE_S) as client:
        for path in (PATH, "/v1/usage", "/v1/admin/keys/x", "/nowhere"):
            with subtests.test(path):
                allowed = await client.options(path, headers=PREFLIGHT)
                assert (allowed.status_code, allowed.content) == (204, b"")
                assert allowed.headers["access-control-allow-origin"] == APP
                assert "POST" in allowed.headers["access-control-allow-methods"]
                assert "authorization" in allowed.headers["access-control-allow-headers"]
                assert allowed.headers["access-control-max-age"] == "7200"


async def test_a_page_of_another_origin_is_told_nothing(
    open_edge: Edge, subtests: pytest.Subtests
) -> None:
    for origin in ("https://app.example.evil", "null", "https://app.example:444"):
        with subtests.test(origin):
            async with httpx.AsyncClient(base_url=open_edge.url, timeout=PATIENCE_S) as client:
                asked = await client.options(PATH, headers=PREFLIGHT | {"Origin": origin})
            told = [asked, *(await answers(open_edge, Origin=origin)).values()]
            assert not any("access-control-allow-origin" in answer.headers for answer in told)
            assert all("origin" in answer.headers["vary"].lower() for answer in told)


async def test_without_the_setting_no_page_is_told_anything(edge: Edge) -> None:
    await edge.serve(echo, model="good")
    async with edge.client() as client:
        asked = await client.options(PATH, headers=PREFLIGHT)
        answer = await client.post(PATH, json={"text": "a"}, headers={"Origin": APP})

    assert asked.status_code == 405
    assert not any(
        name.startswith("access-control") for name in {**asked.headers, **answer.headers}
    )


async def test_all_origins_are_allowed_without_credentials(
    nats: Client, nats_url: str, database_url: str, ledger: Connection
) -> None:
    async with (
        running(nats, nats_url, database_url, ledger, cors_origins="*") as edge,
        edge.client() as client,
    ):
        answer = await client.get("/v1/usage", headers={"Origin": "https://any.example"})

    assert answer.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize("origin", ["app.example", "https://app.example/", "https://*.example"])
def test_what_is_no_origin_is_named(origin: str) -> None:
    with pytest.raises(BadSetting, match="TOLLGATE_CORS_ORIGINS"):
        Cors(f"{APP}, {origin}")


async def test_all_answers_carry_what_browsers_are_to_know(
    open_edge: Edge, subtests: pytest.Subtests
) -> None:
    for kind, answer in (await answers(open_edge)).items():
        with subtests.test(kind):
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["referrer-policy"] == "no-referrer"
            assert "strict-transport-security" not in answer.headers
            assert answer.headers.get_list("cache-control") == ["no-store"] or kind == "a file"
    not_http = await say(open_edge.port, b"\0\0\r\n\r\n")
    assert not_http.headers["x-content-type-options"] == "nosniff"


async def test_the_documentation_works_under_its_policy(edge: Edge) -> None:
    async with edge.client() as client:
        found = await client.get("/docs/try")
        policy = dict(
            part.split(" ", 1) for part in found.headers["content-security-policy"].split("; ")
        )
        scripts = re.findall(r"<script([^>]*)>(.*?)</script>", found.text, re.DOTALL)
        linked = re.findall(r'(?:src|href|url): ?"([^"]*)"|(?:src|href)="([^"]*)"', found.text)
        for path in filter(None, sum(linked, ())):
            assert path.startswith("/"), path  # 'self'
            assert (await client.get(path)).status_code == 200

    assert policy["default-src"] == policy["frame-ancestors"] == "'none'"
    assert len(scripts) == 2
    for attributes, script in scripts:
        assert "src=" in attributes
        assert not script
    assert "unsafe" not in policy["script-src"]
    assert not re.search(r"\son\w+=", found.text)  # handlers in attributes would not run

"""The documentation's pages, as an edge serves them; tests/system/test_examples.py runs them."""

import json
import re
import subprocess
from collections.abc import AsyncIterator
from html import unescape
from html.parser import HTMLParser
from typing import Any

import httpx
import pytest
from nats.aio.client import Client

from edge.documentation.mistakes import ADVICE, every_mistake
from edge.documentation.snippets import Request, curl, javascript, python
from edge.endpoint import Service, declared
from edge.groups import GROUPS, group_of
from ledger.db import Connection
from tests.edge.running import Edge, running
from tests.examples.running import node

AWKWARD: dict[str, Any] = {
    "quotes": """It's "so" `here`, isn't it?""",
    "shell": "$HOME ${HOME} $(id) !! \\ \\n * # ; & | > ~",
    "literals": "{a} {{b}} ${c} %s %(d)s",
    "lines": "one\ntwo\r\n\tthree\u2028four",
    "letters": "Grüße, 世界 🙂",
    "values": [None, True, False, 0, -1.5, 1e-7, 2**53, [], {}, ""],
    "a name's": {"in": "it", "class": 1, "x-y": [[{"deep": "er"}]]},
    "long": ["a word or two " * 9] * 3,
    "variable": "$ACCOUNT_ID",
    "within": 'it\'s "$ACCOUNT_ID" `and` {$KEY_ID} \\ ${',
}
ENVIRONMENT = {"TOLLGATE_URL": "http://gate", "ACCOUNT_ID": "a-1", "KEY_ID": "k2"}
REQUEST = Request(
    method="POST",
    url="$TOLLGATE_URL/v1/accounts/$ACCOUNT_ID?of=it",
    headers={"X-Awkward": "it's $KEY_ID", "Authorization": "Bearer $KEY_ID"},
    body=AWKWARD,
)


def meant() -> Any:
    text = json.dumps(AWKWARD)
    for name, value in ENVIRONMENT.items():
        text = text.replace(f"${name}", value)
    return json.loads(text)


@pytest.fixture
async def client(edge: Edge) -> AsyncIterator[httpx.AsyncClient]:
    async with edge.client() as client:
        yield client


async def test_every_endpoint_has_a_page_that_says_what_its_schema_says(
    client: httpx.AsyncClient,
) -> None:
    document = (await client.get("/openapi.json")).json()
    index = (await client.get("/docs")).text
    for endpoint in declared(list(Service)):
        page = await client.get(f"/docs/{endpoint.name}")
        text = unescape(page.text)
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert f'href="/docs/{endpoint.name}"' in index
        assert group_of(endpoint) in text
        assert "<script" not in page.text
        assert not _Shape(page.text).wrong
        for name in _named(document, endpoint.name):
            assert f"<code>{name}</code>" in text, (endpoint.name, name)


class _Shape(HTMLParser):
    """What of a page's markup is not closed in order, and ids that are there twice."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.wrong: list[str] = []
        self._open: list[str] = []
        self._ids: set[str] = set()
        self.feed(page)
        self.wrong += self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in {"br", "link", "meta"}:
            self._open.append(tag)
        if id_ := dict(attrs).get("id"):
            self.wrong += [id_] if id_ in self._ids else []
            self._ids.add(id_)

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open.pop() != tag:
            self.wrong.append(tag)


def test_markup_that_is_wrong_is_found() -> None:
    """The control."""
    assert not _Shape('<p id="a">one<br>two</p>').wrong
    for wrong in ("<p>", "<p><b></p></b>", '<p id="a"></p><p id="a"></p>'):
        assert _Shape(wrong).wrong


def _named(document: Any, operation_id: str) -> set[str]:
    """The parameters and the fields of what goes in and comes out."""
    (operation,) = [
        operation
        for item in document["paths"].values()
        for operation in item.values()
        if operation["operationId"] == operation_id
    ]
    names = {parameter["name"] for parameter in operation.get("parameters", ())}
    responses = {status: one for status, one in operation["responses"].items() if status < "4"}
    said = json.dumps([operation.get("requestBody"), responses])
    for schema in re.findall(r"#/components/schemas/(\w+)", said):
        names |= document["components"]["schemas"][schema]["properties"].keys()
    return names


async def test_a_page_names_a_model_that_runs_and_the_address_that_was_asked(edge: Edge) -> None:
    async with edge.client() as client:
        before = (await client.get("/docs/echo")).text
        await edge.announce(model="an/echo", task="echo")
        page = (await client.get("/docs/echo", headers={"Host": "gate.example"})).text
        first = (await client.get("/docs")).text

    assert "No model here does this" in before
    assert "No model here does this" not in page
    assert "$TOLLGATE_URL/v1/an%2Fecho/echo" in unescape(page)
    assert "export TOLLGATE_URL=http://gate.example\n" in page
    assert "an%2Fecho" in first


@pytest.mark.parametrize("host", ["x:99999999", "x:65536", "x:-1", "[", "[::1"])
async def test_a_host_that_is_none_is_not_in_a_page(edge: Edge, host: str) -> None:
    async with edge.client() as client:
        page = await client.get("/docs/echo", headers={"Host": host})

    assert page.status_code == 200
    assert f"export TOLLGATE_URL=http://127.0.0.1:{edge.port}\n" in page.text


async def test_what_a_caller_says_is_text_and_no_markup(edge: Edge) -> None:
    async with edge.client() as client:
        page = await client.get("/docs/echo", headers={"Host": "a';<script>"})
        missing = await client.get("/docs/%3Cscript%3E")

    assert "<script" not in page.text
    assert missing.status_code == 404
    assert missing.headers["content-type"] == "application/problem+json"


async def test_an_edge_shows_the_pages_of_the_doors_that_it_opens(
    nats: Client, nats_url: str, database_url: str, ledger: Connection
) -> None:
    async with (
        running(nats, nats_url, database_url, ledger, services="api", root_path="/api") as edge,
        edge.client() as client,
    ):
        first = (await client.get("/docs")).text
        inside = await client.get("/docs/healthz")

    assert 'href="/api/docs/entities"' in first
    assert "healthz" not in first
    assert inside.status_code == 404


def test_python_reads_what_was_meant() -> None:
    given: dict[str, Any] = {}

    class Requests:
        def post(self, url: str, **arguments: Any) -> "Requests":
            given.update(arguments, url=url)
            return self

        def raise_for_status(self) -> None:
            pass

        def json(self) -> None:
            pass

    code = python(REQUEST).replace("import requests\n", "")
    exec(code.replace("import os\n", ""), {"requests": Requests(), "os": _Os, "print": id})

    assert given["json"] == meant()
    assert given["url"] == "http://gate/v1/accounts/a-1?of=it"
    assert given["headers"] == {"X-Awkward": "it's k2", "Authorization": "Bearer k2"}


class _Os:
    environ = ENVIRONMENT


def test_a_shell_reads_what_was_meant() -> None:
    shown = "curl() { printf '%s\\0' \"$@\"; }\n" + curl(REQUEST)
    done = subprocess.run(
        ["/bin/sh", "-c", shown], env=ENVIRONMENT, check=True, capture_output=True, text=True
    )
    _, url, *rest, last, body = done.stdout.rstrip("\0").split("\0")

    assert (url, last) == ("http://gate/v1/accounts/a-1?of=it", "-d")
    assert rest == ["-H", "X-Awkward: it's k2", "-H", "Authorization: Bearer k2"]
    assert json.loads(body) == meant()


def test_javascript_reads_what_was_meant() -> None:
    program = node()
    program.install()
    shown = (
        "globalThis.fetch = async (url, given) => "
        "({ ok: true, json: () => ({ url, ...given, body: JSON.parse(given.body) }) });\n"
        + javascript(REQUEST)
    )
    done = subprocess.run(
        program.argv(),
        input=json.dumps([{"text": shown, "environment": ENVIRONMENT}]),
        check=True,
        capture_output=True,
        text=True,
    )
    (result,) = json.loads(done.stdout)
    given = json.loads(result["output"])

    assert given["url"] == "http://gate/v1/accounts/a-1?of=it"
    assert given["method"] == "POST"
    assert given["headers"] == {"X-Awkward": "it's k2", "Authorization": "Bearer k2"}
    assert given["body"] == meant()


def test_every_error_is_listed_with_what_to_do() -> None:
    codes = [mistake.code for mistake in every_mistake()]

    assert {"unknown_key", "rate_limited", "internal_error", "deadline_passed"} <= set(codes)
    assert len(codes) == len(set(codes))
    assert ADVICE.keys() == {mistake.status for mistake in every_mistake()}


def test_every_endpoint_has_a_place_in_the_index() -> None:
    assert {group_of(endpoint) for endpoint in declared(list(Service))} <= set(GROUPS)


async def test_a_file_is_sent_once_to_who_keeps_it(client: httpx.AsyncClient) -> None:
    url = "/docs/assets/swagger-ui-bundle.js"
    first = await client.get(url)
    again = await client.get(url, headers={"If-None-Match": first.headers["etag"]})
    other = await client.get(url, headers={"If-None-Match": '"of-another-version"'})
    head = await client.head(url)

    assert first.status_code == other.status_code == head.status_code == 200
    assert first.headers["content-type"].startswith("text/javascript")
    assert int(first.headers["content-length"]) == len(first.content) > 1_000_000
    assert first.content == other.content
    assert (again.status_code, again.content) == (304, b"")
    assert head.headers["content-length"] == first.headers["content-length"]
    assert head.content == b""


async def test_files_that_are_none_of_the_pages_are_not_there(client: httpx.AsyncClient) -> None:
    for name in ("LICENSE", "swagger-ui-bundle.js.map", "%2e%2e%2ffiles.py"):
        assert (await client.get(f"/docs/assets/{name}")).status_code == 404

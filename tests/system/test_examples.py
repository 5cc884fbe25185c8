"""The documentation's examples work when they are pasted, in every language."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from msgspec.structs import replace
from nats.aio.client import Client

from edge.documentation.answers import ANSWERS
from edge.documentation.variables import VARIABLES
from edge.endpoint import HTML, JSON
from ledger.db import Connection
from tests.edge.running import ADMIN_TOKEN, running
from tests.examples.checking import Documented
from tests.examples.page import Page
from tests.examples.places import (
    ENDPOINTS,
    PLANS,
    answerable,
    asks_stripe,
    leave_environment,
    stock,
)
from tests.examples.recorder import recording
from tests.examples.running import Ran, Reader
from tests.stripe.app import KEY
from tests.stripe.running import standing_in
from tests.system.system import System

AT_STRIPE = [name for name, endpoint in ENDPOINTS.items() if asks_stripe(endpoint)]
LANGUAGES = {"curl", "Python", "JavaScript"}


@pytest.fixture
async def documented(client: httpx.AsyncClient) -> Documented:
    return Documented((await client.get("/openapi.json")).json())


async def test_every_example_works_when_it_is_pasted(
    system: System, client: httpx.AsyncClient, documented: Documented, tmp_path: Path
) -> None:
    names = [name for name in await answerable(client) if name not in AT_STRIPE]
    (tmp_path / ".tollgate").symlink_to(system.home)
    with recording(system.url) as recorder:
        reader = Reader(system.url, system.admin_token, recorder, tmp_path)
        pages = await reader.pages(names)
        ran = await reader.run(pages)

    assert not list(documented.complaints(ran))
    for page in pages:
        kinds = {snippet.kind for snippet in page.snippets}
        assert {(one.language, one.kind) for one in page.snippets} == {
            (language, kind) for language in LANGUAGES for kind in kinds
        }
        assert f"export TOLLGATE_URL={system.url}\n" in page.before + "\n", page.name
    streamed = {one.page for one in _snippets(ran) if one.kind == "stream"}
    assert streamed == {name for name in names if ENDPOINTS[name].streams}
    assert ENDPOINTS.keys() == {*names, *AT_STRIPE}


async def test_examples_that_ask_stripe_work_where_plans_are_for_sale(  # noqa: PLR0917 - fixtures
    nats: Client,
    nats_url: str,
    database_url: str,
    ledger: Connection,
    documented: Documented,
    tmp_path: Path,
) -> None:
    plans = tmp_path / "plans.toml"
    plans.write_text(PLANS)
    leave_environment(tmp_path, {"TOLLGATE_ADMIN_TOKEN": ADMIN_TOKEN})
    async with standing_in() as stripe:
        own = stock(stripe)
        settings = {
            "plans_file": str(plans),
            "stripe_api_key": KEY,
            "stripe_api_base": stripe.url,
        }
        async with running(nats, nats_url, database_url, ledger, **settings) as edge:
            with recording(edge.url) as recorder:
                reader = Reader(edge.url, ADMIN_TOKEN, recorder, tmp_path, own)
                ran = await reader.run(await reader.pages(AT_STRIPE))

    assert not list(documented.complaints(ran))
    assert {one.language for one in _snippets(ran)} == LANGUAGES


async def test_an_example_that_is_broken_is_found(
    system: System, documented: Documented, tmp_path: Path
) -> None:
    """The control."""
    (tmp_path / ".tollgate").symlink_to(system.home)
    with recording(system.url) as recorder:
        reader = Reader(system.url, system.admin_token, recorder, tmp_path)
        echo, models = await reader.pages(["echo", "list_models"])
        ran = await reader.run([_misspelt(echo), _mistaken(models)])
    found = "\n".join(documented.complaints(ran))

    for language in LANGUAGES:
        assert f"echo.{language}.json: it failed" in found
        assert f"echo.{language}.json: it was answered 422" in found
        assert f"list_models.{language}.json: it sent GET /v1/limits" in found
    assert "is not as documented" in next(
        documented.complaints([_passing_off(one) for one in ran if one.snippet.page == "echo"])
    )


def _misspelt(page: Page) -> Page:
    """With a field that is none; JavaScript writes names without quotes."""
    return _changed(page, "text", "txet")


def _mistaken(page: Page) -> Page:
    return _changed(page, "/v1/models", "/v1/limits")


def _changed(page: Page, old: str, new: str) -> Page:
    snippets = [replace(one, text=one.text.replace(old, new)) for one in page.snippets]
    return replace(page, snippets=snippets)


def _passing_off(ran: Ran) -> Ran:
    """As if an answer of another shape had come."""
    body = json.dumps({"texts": []})
    (passed,) = ran.passed
    headers = {"content-type": "application/json"}
    other = replace(passed, status=200, headers=headers, body=body.encode())
    return replace(ran, failed="", output=body, passed=[other])


def _snippets(ran: Sequence[Ran]) -> list[Any]:
    return [one.snippet for one in ran]


async def test_recorded_answers_are_as_the_document_has_them(
    client: httpx.AsyncClient, documented: Documented
) -> None:
    for name in await answerable(client):
        endpoint, answer = ENDPOINTS[name], ANSWERS.get(name)
        assert answer or HTML in endpoint.media_types, f"{name}: run `make examples`"
        unless = endpoint.example.unless if endpoint.example else {}
        if answer and answer.status not in unless:
            assert answer.status == endpoint.status_code, name
            if JSON in endpoint.media_types and answer.body:
                misfit = documented.misfit(name, answer.status, json.loads(answer.body))
                assert not misfit, f"{name}: {misfit}; run `make examples`"
    assert ANSWERS.keys() <= ENDPOINTS.keys()


async def test_what_takes_something_has_an_example(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    operations = {
        operation["operationId"]: operation
        for item in document["paths"].values()
        for operation in item.values()
    }
    for name, endpoint in ENDPOINTS.items():
        operation = operations[name]
        if "requestBody" in operation and endpoint.asks is None:
            assert endpoint.example, f"{name} takes a body: declare an `example`"
            assert endpoint.example.body is not None, f"{name} takes a body: give its example one"
        for parameter in operation.get("parameters", ()):
            path = endpoint.example.path if endpoint.example else {}
            variable = path.get(parameter["name"], parameter["name"].upper())
            if parameter["in"] == "path" and variable != "MODEL":
                told = f"{name}: edge/documentation/variables.py has no {variable}"
                assert variable in VARIABLES, told

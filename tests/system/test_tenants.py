"""Every route by every id of another tenant: generated, so that new routes are covered."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import httpx
import pytest
from litestar.types import Guard
from msgspec import Struct

from edge import auth, endpoint
from edge.endpoint import Endpoint, Perspective
from edge.receipts import Receipts
from edge.settings import Settings
from tests.system.routes import NOBODYS, body_of, operations, security_of
from tests.system.town import Tenant, Town
from tests.waiting import PATIENCE_S

pytestmark = pytest.mark.asyncio(loop_scope="session")

REFUSED = {401, 403, 404}
ADMIN = {"admin_token"}
KEY = {"api_key"}


class Call(Struct, frozen=True, kw_only=True):
    """One request, in which the other tenant's ids are."""

    method: str
    path: str
    query: Mapping[str, str]
    body: Any
    security: frozenset[str]  # who may: empty, `KEY` or `ADMIN`
    names_other: bool  # its path does


def calls(document: Mapping[str, Any], other: Tenant) -> Iterator[Call]:
    """Every operation with the other's ids in its path; and again with each in its query."""
    for method, path, operation in operations(document):
        ids, rest = _filled(path, operation, other)
        queries = [{}, *({name: value} for name, value in ids["query"].items())]
        queries += [rest | ids["query"]] if rest else []
        for query in queries:
            yield Call(
                method=method,
                path=path.format(**{**NOBODYS, **ids["path"]}),
                query=query,
                body=body_of(operation, other),
                security=frozenset(security_of(operation)),
                names_other=bool(ids["path"]),
            )


def _filled(
    path: str, operation: Mapping[str, Any], other: Tenant
) -> tuple[dict[str, dict[str, str]], dict[str, str]]:
    """The other's ids in a path and a query, and what else a query may say."""
    ids: dict[str, dict[str, str]] = {"path": {}, "query": {}, "header": {}}
    rest = {}
    for parameter in operation.get("parameters", ()):
        name, place = parameter["name"], parameter["in"]
        assert name in other.ids or name in NOBODYS, (
            f"{path} takes {name!r} in its {place}: have `Town.tenant` make one and give its id "
            "in `Tenant.ids`; or say in `NOBODYS` that it names nobody's things"
        )
        if name in other.ids:
            ids[place][name] = other.ids[name]
        elif place == "query" and NOBODYS[name]:
            rest[name] = NOBODYS[name]
    return ids, rest


async def leaks(town: Town, url: str, other: Tenant, mallory: Tenant) -> Sequence[str]:
    """What somebody gets of another tenant's, by asking for all that there is.

    Args:
        town: Where both live.
        url: Of the edge that is asked.
        other: Whose things are asked for.
        mallory: Who asks, also without a key, and with those of others.
    """
    async with httpx.AsyncClient(base_url=url, timeout=PATIENCE_S) as client:
        document = (await client.get("/openapi.json")).json()
        before = await town.state_of(other)
        found = []
        for call in calls(document, other):
            for who, headers, refused in _callers(call, town, other, mallory):
                answer = await client.request(
                    call.method, call.path, params=call.query, json=call.body, headers=headers
                )
                told = f"{who}: {call.method} {answer.request.url}: {answer.status_code}"
                if answer.status_code not in REFUSED if refused else answer.is_server_error:
                    found.append(f"{told}, {answer.text[:200]}")
                if seen := _told(other, answer):
                    found.append(f"{told}, and tells {seen}")
    after = await town.state_of(other)
    changed = [name for name, rows in before.items() if rows != after[name]]
    return [*found, *(f"changed: {name}" for name in changed)]


def _callers(
    call: Call, town: Town, other: Tenant, mallory: Tenant
) -> Iterator[tuple[str, Mapping[str, str], bool]]:
    """Who calls, with what, and whether that is to be refused."""
    guarded = bool(call.security)
    yield "nobody", {}, guarded
    yield "a revoked key", other.revoked, guarded
    yield "another tenant", mallory.headers, call.security == ADMIN or call.names_other
    if call.security == KEY:
        yield "the operator", town.system.admin_headers, True
    if call.security == ADMIN:
        yield "the tenant itself", other.headers, True


def _told(other: Tenant, answer: httpx.Response) -> list[str]:
    asked = answer.request
    said = f"{asked.url} {asked.headers.multi_items()} {asked.content!r}"
    return other.told_by(f"{answer.headers.multi_items()} {answer.text}", said)


async def test_nobody_gets_anything_of_another_tenant(town: Town) -> None:
    ada, mallory = await town.tenant("ada"), await town.tenant("mallory")

    assert await leaks(town, town.system.url, ada, mallory) == []


async def test_whose_they_are_does_get_them(town: Town) -> None:
    """Or the ids above would be refused for being wrong."""
    ada = await town.tenant("ada")
    admin = town.system.admin_headers
    async with town.system.client({}) as client:
        document = (await client.get("/openapi.json")).json()
        for call in calls(document, ada):
            if call.method == "GET" and call.security:
                headers = dict(ada.headers if call.security == KEY else admin)
                answer = await client.get(call.path, params=call.query, headers=headers)
                assert answer.is_success, (call.path, answer.text)


async def test_an_idempotency_key_is_its_tenants_own(town: Town) -> None:
    ada, mallory = await town.tenant("ada"), await town.tenant("mallory")
    before = await town.state_of(ada)
    async with town.system.client(dict(mallory.headers)) as client:
        key = {"Idempotency-Key": ada.asked.headers["Idempotency-Key"]}
        same = await client.post("/v1/echo/echo", content=ada.asked.content, headers=key)
        repeat = await client.post("/v1/echo/echo", content=ada.asked.content, headers=key)

    assert (same.status_code, repeat.status_code) == (200, 200)
    assert "idempotent-replayed" not in same.headers
    assert repeat.headers["idempotent-replayed"] == "true"  # of mallory's own
    assert not _told(ada, same)
    assert await town.state_of(ada) == before


async def test_a_route_without_its_guard_is_found(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada, mallory = await town.tenant("ada"), await town.tenant("mallory")
    guards = endpoint._guards  # noqa: SLF001 - there is no public way to break it

    def unguarded(declared: Endpoint, *, keys: auth.Keys, settings: Settings) -> list[Guard]:
        if declared.perspective is Perspective.ADMIN:
            return []
        return guards(declared, keys=keys, settings=settings)

    monkeypatch.setattr(endpoint, "_guards", unguarded)
    async with town.another_edge() as url:
        found = "\n".join(await leaks(town, url, ada, mallory))

    assert f"another tenant: GET {url}/v1/admin/accounts/{ada.account_id}/keys: 200" in found
    assert "and tells" in found
    assert "changed: api_keys" in found
    assert "changed: webhooks" in found


async def test_a_route_that_forgets_whose_it_is_is_found(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada, mallory = await town.tenant("ada"), await town.tenant("mallory")
    find = Receipts.find

    async def find_any(self: Receipts, request_id: str, _: Any) -> Any:
        return await find(self, request_id, None)

    monkeypatch.setattr(Receipts, "find", find_any)
    async with town.another_edge() as url:
        found = await leaks(town, url, ada, mallory)

    path = f"{url}/v1/usage/requests/{ada.ids['request_id']}"
    assert [one for one in found if one.startswith(f"another tenant: GET {path}: 200")]


async def test_a_parameter_that_nobody_knows_how_to_fill_is_told() -> None:
    other = Tenant(
        account_id="",
        headers={},
        revoked={},
        ids={},
        customer="",
        asked=httpx.Request("GET", "http://x"),
        answered=httpx.Response(200),
        told=frozenset(),
    )
    parameter = {"name": "job_id", "in": "path"}
    operation = {"operationId": "get_job", "security": [], "parameters": [parameter]}
    with pytest.raises(AssertionError, match=r"takes 'job_id' in its path: have `Town.tenant`"):
        list(calls({"paths": {"/v1/jobs/{job_id}": {"get": operation}}}, other))

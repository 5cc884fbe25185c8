"""Traefik, nginx and Caddy with our configurations in front of an API that is not ours."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from nats.aio.client import Client

from deploy.local.ports import free_port
from ledger.db import Connection
from tests.deploy import proxies
from tests.deploy.proxies import PROXIES, Proxy
from tests.edge.running import Edge, Server, running
from tests.waiting import PATIENCE_S, until

PLANS = """
[[plan]]
name = "default"

[[plan.policy]]
name = "calls"
unit = "requests"
limit = 4
window = "day"

[[plan]]
name = "broke"
prepaid = true
prices = { requests = "1.00" }

[[plan]]
name = "elsewhere"
models = ["other"]
"""
GATES = '[[gate]]\nname = "things"\nprefix = "/things"\n'


class Api:
    """Says what it was asked; below /things/stream in ten parts, each when it is told to."""

    def __init__(self) -> None:
        self.wanted = asyncio.Semaphore(0)  # parts

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body = b""
        while True:
            message = await receive()
            body += message["body"]
            if not message["more_body"]:
                break
        seen = {
            "method": scope["method"],
            "path": scope["raw_path"].decode(),
            "query": scope["query_string"].decode(),
            "headers": [(name.decode(), value.decode()) for name, value in scope["headers"]],
            "body": len(body),
        }
        start = {"type": "http.response.start", "status": 200, "headers": []}
        await send(start)
        if scope["path"].endswith("/stream"):
            for number in range(10):
                await self.wanted.acquire()
                part = b"%d\n" % number
                await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": json.dumps(seen).encode()})


@asynccontextmanager
async def serving_api(api: Api) -> AsyncIterator[int]:
    port = free_port()
    server = Server(uvicorn.Config(api, port=port, lifespan="off", log_config=None))
    serving = asyncio.create_task(server.serve())
    await until(lambda: server.started)
    try:
        yield port
    finally:
        server.should_exit = True
        await serving


@asynccontextmanager
async def behind(
    proxy: Proxy, edge: Edge, folder: Path, api: Api
) -> AsyncIterator[httpx.AsyncClient]:
    folder.mkdir()
    async with serving_api(api) as port:
        with proxies.started(proxy, folder, edge=edge.port, api=port) as front:
            await until(lambda: proxies.asks(front))
            async with httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{front}",
                headers={"Authorization": f"Bearer {edge.api_key}"},
                timeout=PATIENCE_S,
            ) as client:
                yield client


@pytest.fixture(scope="module")
def _installed() -> None:
    proxies.install()


@pytest.fixture
async def edge(
    nats: Client, nats_url: str, database_url: str, ledger: Connection, tmp_path: Path
) -> AsyncIterator[Edge]:
    (tmp_path / "plans.toml").write_text(PLANS)
    (tmp_path / "gates.toml").write_text(GATES)
    files = {
        "plans_file": str(tmp_path / "plans.toml"),
        "gates_file": str(tmp_path / "gates.toml"),
    }
    async with running(nats, nats_url, database_url, ledger, **files) as started:
        yield started


@pytest.mark.usefixtures("_installed")
@pytest.mark.parametrize("proxy", PROXIES, ids=lambda proxy: proxy.name)
async def test_a_proxy_lets_through_whom_the_gate_lets_through(
    proxy: Proxy, edge: Edge, tmp_path: Path
) -> None:
    forged = {"X-Tollgate-Account": "somebody-else", "X-Forwarded-Uri": "/nothing"}
    api = Api()
    async with behind(proxy, edge, tmp_path / proxy.name, api) as client:
        passed = await client.put("/things/one?x=%20y", content=b"z" * 2_000_000, headers=forged)
        api.wanted.release()
        lines = []
        async with client.stream("GET", "/things/stream") as stream:
            async for line in stream.aiter_lines():
                lines.append(line)
                api.wanted.release()  # it passes part by part, or no more come
        deleted = await client.delete("/things")
        nowhere = await client.get("/elsewhere")
        nobody = await client.get("/things", headers={"Authorization": "Bearer nothing"})
        await client.get("/things")
        limited = await client.get("/things")

    seen = passed.json()
    assert (seen["method"], seen["path"], seen["query"]) == ("PUT", "/things/one", "x=%20y")
    assert seen["body"] == 2_000_000
    told = [value for name, value in seen["headers"] if name == "x-tollgate-account"]
    assert told == [str(edge.account.id)]
    names = {name for name, _ in seen["headers"]}
    assert {"x-tollgate-key", "x-tollgate-plan"} <= names
    assert lines[:10] == [str(number) for number in range(10)]
    assert deleted.status_code == 200
    assert (nowhere.status_code, nobody.status_code) == (403, 401)
    assert limited.status_code == 429
    assert int(limited.headers["retry-after"]) > 0
    assert await edge.metered() == 4


@pytest.mark.usefixtures("_installed")
@pytest.mark.parametrize("proxy", PROXIES, ids=lambda proxy: proxy.name)
async def test_a_proxy_passes_on_why_somebody_is_refused(
    proxy: Proxy, edge: Edge, tmp_path: Path
) -> None:
    statuses = {}
    admin = {"Authorization": "Bearer an-admin-token-for-tests"}
    async with behind(proxy, edge, tmp_path / proxy.name, Api()) as client:
        for plan in ("broke", "elsewhere"):
            async with edge.client(**admin) as operator:
                path = f"/v1/admin/accounts/{edge.account.id}"
                (await operator.patch(path, json={"plan": plan})).raise_for_status()
            await until(lambda: _on_plan(edge, plan))  # noqa: B023 - awaited in the loop
            statuses[plan] = (await client.get("/things")).status_code

    assert statuses == {"broke": 402, "elsewhere": 403}


async def _on_plan(edge: Edge, plan: str) -> bool:
    async with edge.client() as client:
        return bool((await client.get("/v1/limits")).json()["plan"] == plan)

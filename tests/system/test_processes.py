"""The processes as an operator starts them: several on a port, behind a proxy, side by side."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

import httpx

from deploy.local.ports import free_port
from tests.system.system import System, echoing
from tests.waiting import PATIENCE_S, until


async def tollgate(
    *arguments: str, home: Path, environment: dict[str, str] | None = None
) -> tuple[int, str, str]:
    """Run a command in another terminal; its status, output and errors."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "deploy.cli",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "TOLLGATE_HOME": str(home), **(environment or {})},
    )
    output, errors = await asyncio.wait_for(process.communicate(), PATIENCE_S)
    return process.returncode or 0, output.decode(), errors.decode()


@asynccontextmanager
async def an_edge(system: System, *arguments: str, **settings: str) -> AsyncIterator[str]:
    """A further edge on the system's servers; yields its URL."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "deploy.cli",
        "edge",
        f"--port={port}",
        *arguments,
        env={
            **os.environ,
            "TOLLGATE_NATS_URL": system.nats_url,
            "TOLLGATE_DATABASE_URL": system.database_url,
            "TOLLGATE_KEY_SECRET": system.secret("key_secret"),
            "TOLLGATE_ADMIN_TOKEN": system.admin_token,
            **settings,
        },
    )
    url = f"http://127.0.0.1:{port}"
    try:
        async with asyncio.timeout(PATIENCE_S), httpx.AsyncClient(timeout=PATIENCE_S) as client:
            while process.returncode is None:
                try:
                    await client.get(url + "/docs")
                    break
                except httpx.TransportError:
                    await asyncio.sleep(0.1)
        yield url
    finally:
        process.terminate()
        await asyncio.wait_for(process.wait(), PATIENCE_S)


async def test_several_processes_share_a_port_and_add_their_metrics_up(system: System) -> None:
    async with (
        an_edge(system, "--processes=2") as url,
        httpx.AsyncClient(headers=system.headers, timeout=PATIENCE_S) as client,
    ):
        for _ in range(30):
            # a connection each, so that both processes get some
            response = await client.post(
                url + "/v1/echo/echo", json={"text": "hi"}, headers={"Connection": "close"}
            )
            assert response.status_code == 200, response.text
        added_up = 'tollgate_requests_total{endpoint="echo",status="200"} 30.0'

        async def counted() -> bool:  # which is after an answer is sent
            return added_up in (await client.get(url + "/metrics")).text

        await until(counted)


async def test_an_edge_behind_a_proxy_that_strips_a_prefix_links_to_itself(
    system: System,
) -> None:
    async with (
        an_edge(system, TOLLGATE_ROOT_PATH="/api/v1") as url,
        httpx.AsyncClient(headers=system.headers, base_url=url, timeout=PATIENCE_S) as client,
    ):
        answer = await client.post("/v1/echo/echo", json={"text": "hi"})
        page = (await client.get("/docs/try")).text
        first = (await client.get("/docs")).text
        document = (await client.get("/openapi.json")).json()
        script = await client.get("/docs/assets/swagger-ui-bundle.js")

    assert answer.status_code == script.status_code == 200
    assert 'src="/api/v1/docs/assets/swagger-ui-bundle.js"' in page
    assert '"/api/v1/openapi.json"' in page
    assert 'href="/api/v1/docs/entities"' in first
    assert f"export TOLLGATE_URL={url}/api/v1\n" in first
    assert document["servers"] == [{"url": "/api/v1"}]


async def test_an_edge_opens_only_the_doors_that_it_is_told_to(system: System) -> None:
    gates = str(files("deploy") / "gates.toml")
    async with (
        an_edge(system, TOLLGATE_SERVICES="webhooks", TOLLGATE_GATES_FILE=gates) as url,
        httpx.AsyncClient(headers=system.headers, base_url=url, timeout=PATIENCE_S) as client,
    ):
        statuses = [
            (await client.post("/webhooks/stripe")).status_code,
            (await client.post("/v1/echo/echo", json={"text": "hi"})).status_code,
            (await client.get("/v1/models")).status_code,
            (await client.get("/metrics")).status_code,
            (await client.get("/gate/example")).status_code,
        ]

    assert statuses == [400, 404, 404, 404, 404]


async def test_commands_find_the_system_and_print_tables_or_json(
    system: System, client: httpx.AsyncClient
) -> None:
    await client.post("/v1/echo/echo", json={"text": "one two"})
    await system.settled()
    home = system.home

    status, output, _ = await tollgate("accounts", "create", "Ada", "--json", home=home)
    account = json.loads(output)[0]
    assert (status, account["name"]) == (0, "Ada")
    status, output, _ = await tollgate("keys", "create", account["id"], home=home)
    key = output.strip()
    answer = await client.post(
        "/v1/echo/echo", json={"text": "hi"}, headers={"Authorization": f"Bearer {key}"}
    )
    assert (status, answer.status_code) == (0, 200)
    status, output, _ = await tollgate("keys", "list", "--account", account["id"], home=home)
    assert key.split("_")[1] in output
    assert key not in output
    status, output, _ = await tollgate("models", "--json", home=home)
    assert {model["name"]: model["running"] for model in json.loads(output)}["echo"] is True
    arguments = ("usage", "--account", system.account_id, "--json")
    status, output, _ = await tollgate(*arguments, home=home)
    assert sum(bucket["requests"] for bucket in json.loads(output)) >= 1
    status, output, _ = await tollgate("usage", "--all", "--by", "model", "--latency", home=home)
    assert (status, "echo" in output, "█" in output) == (0, True, True)
    status, output, errors = await tollgate("usage", "verify", home=home)
    assert status == 0, (output, errors)
    assert output.splitlines()[-1].startswith("0 missing, 0 double of ")
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    status, output, errors = await tollgate("usage", "rebuild", "--from", today, home=home)
    assert status == 0, errors
    assert "are rebuilt" in output


async def test_a_receipt_outlives_the_system_that_signed_it(
    system: System, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    answer = await client.post("/v1/echo/echo", json={"text": "one two"})
    await system.settled()
    found = await client.get(f"/v1/usage/requests/{answer.headers['x-request-id']}")
    (tmp_path / "answer.json").write_bytes(found.content)
    _, keys, _ = await tollgate("receipts", "keys", home=system.home)
    (tmp_path / "keys.json").write_text(keys)
    published = f"{system.url}/v1/receipts/keys"

    for source in (str(tmp_path / "keys.json"), published):
        status, output, errors = await tollgate(
            "receipts",
            "verify",
            str(tmp_path / "answer.json"),
            f"--keys={source}",
            "--json",
            home=tmp_path,
        )
        assert status == 0, errors
        claims = json.loads(output)
        assert claims["quantities"]["input_words"] == 2
        assert (claims["plan"], claims["price_per_unit"]) == ("default", {})


async def test_a_command_that_fails_says_why_in_one_line(system: System) -> None:
    nowhere = {"TOLLGATE_DATABASE_URL": "postgresql://postgres@127.0.0.1:1/none"}
    for arguments, environment in (
        (("bogus",), None),
        (("accounts",), None),
        (("keys", "create", "not-an-id"), None),
        (("keys", "revoke", "nothing"), None),
        (("accounts", "list"), nowhere),
        (("edge",), {"TOLLGATE_NATS_URL": ""}),
        (("receipts", "keys"), {"TOLLGATE_RECEIPT_KEYS": "not thirty-two bytes"}),
        (("up", "--home", str(system.home)), None),
    ):
        status, output, errors = await tollgate(
            *arguments, home=system.home, environment=environment
        )
        assert status != 0, arguments
        assert output == "", arguments
        assert errors.startswith("tollgate: "), errors
        assert errors.count("\n") == 1, errors


async def test_two_systems_run_side_by_side_and_keep_to_themselves(
    system: System, home: Path
) -> None:
    async with echoing(home) as other, other.client() as client:
        assert other.url != system.url
        assert other.nats_url != system.nats_url
        assert (await client.post("/v1/echo/echo", json={"text": "hi"})).status_code == 200
        foreign = await client.post("/v1/echo/echo", json={"text": "hi"}, headers=system.headers)
        assert foreign.json()["code"] == "unknown_key"


async def test_commands_say_what_an_account_may_do(system: System, tmp_path: Path) -> None:
    home = system.home

    async def run(*arguments: str) -> Any:
        status, output, errors = await tollgate(*arguments, "--json", home=home)
        assert status == 0, errors
        return json.loads(output)

    (account,) = await run("accounts", "create", "Ada")
    account_id = account["id"]
    (changed,) = await run(
        "accounts", "change", account_id, "--limit", "day=7", "--monthly-budget", "12.50"
    )
    (granted,) = await run("credits", "grant", account_id, "3.00", "--reason", "a gift")
    (taken,) = await run("credits", "grant", account_id, "-1.00", "--reason", "too much")
    entries = await run("credits", "list", account_id)
    made = await run("keys", "create", account_id, "--scope", "echo", "--days", "1")
    rotated = await run("keys", "rotate", made["key"]["id"], "--overlap-hours", "0")
    plans = await run("plans")
    wrong = tmp_path / "plans.toml"
    wrong.write_text('[[plan]]\nname = "default"\n\n[[plan.policy]]\nlimt = 3\n')
    bad = [
        await tollgate("plans", str(wrong), home=home),
        await tollgate("accounts", "change", account_id, "--plan", "none", home=home),
        await tollgate("accounts", "change", account_id, "--limit", "none=3", home=home),
        await tollgate("credits", "grant", account_id, "much", "--reason", "x", home=home),
        await tollgate("keys", "rotate", "nobody", home=home),
    ]

    assert (changed["limits"], changed["monthly_budget"]) == ({"day": 7}, 12_500_000_000)
    assert [granted["amount"], taken["amount"]] == [3 * 10**9, -(10**9)]
    assert [entry["reason"] for entry in entries] == ["too much", "a gift"]
    assert made["key"]["scope"] == rotated["key"]["scope"] == ["echo"]
    assert [plan["name"] for plan in plans] == ["by-the-token", "default"]
    for status, _, errors in bad:
        assert status != 0
        assert len(errors.splitlines()) == 1, errors
    assert "line 5" in bad[0][2]

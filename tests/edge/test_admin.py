"""The operator's and the customer's ways to see and change what an account may do."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from events.inference import Ask
from ledger.db import Connection
from tests.edge.running import ADMIN_TOKEN, Edge, answered, reply, running
from tests.waiting import until

PLANS = """
[[plan]]
name = "default"
concurrency = 8

[[plan.policy]]
name = "day"
unit = "requests"
limit = 3
window = "day"

[[plan]]
name = "first"
priority = 7

[[plan]]
name = "prepaid"
prepaid = true
prices = { input_words = "1.00" }
"""
ECHO = {"text": "hello"}


async def echo(message: Msg, ask: Ask) -> None:
    await reply(message, answered(ask.input))


@pytest.fixture
async def limited(
    nats: Client, nats_url: str, database_url: str, ledger: Connection, tmp_path: Path
) -> AsyncIterator[Edge]:
    (tmp_path / "plans.toml").write_text(PLANS)
    files = {"plans_file": str(tmp_path / "plans.toml")}
    async with running(nats, nats_url, database_url, ledger, **files) as edge:
        await edge.serve(echo, model="good")
        yield edge


def operator(edge: Edge) -> httpx.AsyncClient:
    return edge.client(Authorization=f"Bearer {ADMIN_TOKEN}")


async def limits(edge: Edge) -> dict[str, Any]:
    async with edge.client() as client:
        answer = (await client.get("/v1/limits")).json()
    return {**{limit["name"]: limit for limit in answer["data"]}, "plan": answer["plan"]}


async def test_a_caller_sees_its_limits_and_meets_them(limited: Edge) -> None:
    async with limited.client() as client:
        answers = [await client.post("/v1/good/echo", json=ECHO) for _ in range(4)]
        seen = await limits(limited)

    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert answers[0].headers["ratelimit"].startswith('"concurrency";r=')
    assert '"day";r=2;t=' in answers[0].headers["ratelimit"]
    assert answers[0].headers["x-ratelimit-remaining-requests"] == "2"
    refused = answers[3].json()
    assert (refused["code"], refused["policy"]) == ("rate_limited", "day")
    assert refused["error"]["type"] == "rate_limit_error"
    assert (seen["day"]["limit"], seen["day"]["used"], seen["day"]["remaining"]) == (3, 3, 0)
    assert seen["concurrency"]["limit"] == 8


async def test_the_operator_changes_an_accounts_terms(limited: Edge) -> None:
    path = f"/v1/admin/accounts/{limited.account.id}"
    async with operator(limited) as client:
        changed = await client.patch(path, json={"limits": {"day": 9}, "concurrency": 2})
        await until(lambda: _has_limit(limited, 9))
        back = await client.patch(path, json={"limits": None})
        await until(lambda: _has_limit(limited, 3))
        bad = [
            await client.patch(path, json=body)
            for body in (
                {"plan": "none"},
                {"limits": {"none": 3}},
                {"limits": {"day": -3}},
                {"monthly_budget": "much"},
            )
        ]
        misspelt = await client.patch(path, json={"plam": "x"})

    assert changed.status_code == back.status_code == 200
    assert [answer.status_code for answer in bad] == [422] * 4
    assert [answer.json()["error"]["param"] for answer in bad] == [
        "plan",
        "limits.none",
        "limits.day",
        "monthly_budget",
    ]
    assert misspelt.status_code == 400
    assert (await limits(limited))["concurrency"]["limit"] == 2


async def _has_limit(edge: Edge, limit: int) -> bool:
    return bool((await limits(edge))["day"]["limit"] == limit)


async def test_credit_is_granted_spent_and_taken_back(limited: Edge) -> None:
    path = f"/v1/admin/accounts/{limited.account.id}"
    async with operator(limited) as client, limited.client() as customer:
        await client.patch(path, json={"plan": "prepaid"})
        await until(lambda: _on_plan(limited, "prepaid"))
        broke = await customer.post("/v1/good/echo", json=ECHO)
        granted = await client.post(
            f"{path}/credits", json={"amount": "0.000002", "reason": "welcome"}
        )
        await until(lambda: _answers(customer, 200))
        await client.post(f"{path}/credits", json={"amount": "-0.000001", "reason": "oops"})
        await until(lambda: _answers(customer, 402))
        entries = (await client.get(f"{path}/credits")).json()["data"]
        no_reason = await client.post(f"{path}/credits", json={"amount": "1", "reason": " "})
        balance = (await customer.get("/v1/balance")).json()

    assert (broke.status_code, broke.json()["policy"]) == (402, "credit")
    assert granted.json()["amount"] == 2_000
    assert [(entry["amount"], entry["reason"]) for entry in entries] == [
        (-1_000, "oops"),
        (2_000, "welcome"),
    ]
    assert no_reason.status_code == 400
    assert (balance["credit"], balance["prepaid"]) == ("0.000001", True)


async def _on_plan(edge: Edge, plan: str) -> bool:
    return bool((await limits(edge))["plan"] == plan)


async def _answers(client: httpx.AsyncClient, status: int) -> bool:
    return (await client.post("/v1/good/echo", json=ECHO)).status_code == status


async def test_a_customer_can_lower_its_own_budget(limited: Edge) -> None:
    async with limited.client() as client:
        lowered = await client.put("/v1/budget", json={"monthly": "5"})
        await until(lambda: _has_budget(limited, 5 * 10**9))
        lifted = await client.put("/v1/budget", json={"monthly": None})
        await until(lambda: _has_budget(limited, None))
        bad = await client.put("/v1/budget", json={"monthly": "-5"})

    assert (lowered.json(), lifted.json()) == ({"monthly": "5.00"}, {"monthly": None})
    assert (bad.status_code, bad.json()["error"]["param"]) == (422, "monthly")


async def _has_budget(edge: Edge, limit: int | None) -> bool:
    budget = (await limits(edge)).get("monthly_budget")
    return (budget and budget["limit"]) == limit


async def test_keys_are_scoped_expire_and_are_rotated(limited: Edge) -> None:
    path = f"/v1/admin/accounts/{limited.account.id}/keys"
    past, future = "2020-01-01T00:00:00Z", "2100-01-01T00:00:00Z"
    async with operator(limited) as client:
        scoped = await client.post(path, json={"scope": ["embeddings"], "expires_at": future})
        expired = await client.post(path, json={"expires_at": past})
        key_id = limited.key.id
        rotated = await client.post(f"/v1/admin/keys/{key_id}/rotate", json={"overlap_s": 0})
        nobody = await client.post("/v1/admin/keys/nobody/rotate", json={})
        keys = (await client.get(path)).json()["data"]
        statuses = {}
        for name, made in (("scoped", scoped), ("expired", expired), ("new", rotated)):
            headers = {"Authorization": f"Bearer {made.json()['api_key']}"}
            answer = await client.post("/v1/good/echo", json=ECHO, headers=headers)
            statuses[name] = answer.status_code, answer.json().get("code")
    async with limited.client() as client:
        await until(lambda: _answers(client, 401))
        old = await client.post("/v1/good/echo", json=ECHO)

    assert statuses == {
        "scoped": (403, "not_in_scope"),
        "expired": (401, "expired_key"),
        "new": (200, None),
    }
    assert old.json()["code"] == "expired_key"
    assert nobody.status_code == 404
    assert len(keys) == 4


async def test_a_webhook_is_set_and_its_secret_shown_once(limited: Edge) -> None:
    path = f"/v1/admin/accounts/{limited.account.id}/webhook"
    async with operator(limited) as client:
        made = await client.put(path, json={"url": "https://example.test/hook"})
        bad = await client.put(path, json={"url": "ftp://example.test"})
        dropped = await client.put(path, json={"url": None})

    assert made.json()["secret"].startswith("whsec_")
    assert bad.status_code == 400
    assert dropped.json() == {"url": None, "secret": None}


async def test_a_plan_says_where_in_the_queue_its_requests_go(limited: Edge) -> None:
    priorities = []

    async def note(message: Msg, ask: Ask) -> None:
        priorities.append(ask.priority)
        await echo(message, ask)

    await limited.serve(note, model="noted")
    path = f"/v1/admin/accounts/{limited.account.id}"
    async with operator(limited) as client, limited.client() as customer:
        await customer.post("/v1/noted/echo", json=ECHO)
        await client.patch(path, json={"plan": "first"})
        await until(lambda: _on_plan(limited, "first"))
        await customer.post("/v1/noted/echo", json=ECHO)

    assert priorities == [0, 7]

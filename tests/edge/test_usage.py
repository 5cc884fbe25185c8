"""GET /v1/usage: what callers and the operator get to see."""

import csv
import io
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace
from nats.aio.client import Client

from events import usage
from events.ids import new_id
from events.usage import Usage
from ledger.db import Connection
from ledger.usage import fold_usage
from tests.edge.running import ADMIN_TOKEN, Edge, running
from tests.usage import a_usage, recorded
from tests.waiting import PATIENCE_S, until


async def used(edge: Edge, ledger: Connection) -> None:
    """Three requests of the account, and one of somebody else's."""
    mine = [
        replace(a_usage(edge.account.id, input_tokens=5, cost=2_000), model="a", duration_ms=7),
        replace(a_usage(edge.account.id, input_tokens=6), model="b/7", duration_ms=9),
        replace(a_usage(edge.account.id, requests=0, errors=3), model="b/7", status=429),
    ]
    await fold_usage(ledger, [*map(recorded, mine), recorded(a_usage(input_tokens=100))])


async def test_a_customer_sees_its_own_usage_by_whatever_it_asks(
    edge: Edge, ledger: Connection
) -> None:
    await used(edge, ledger)
    async with edge.client() as client:
        plain = (await client.get("/v1/usage")).json()
        asked = {"bucket": "hour", "group_by": "model,status", "latency": "true"}
        asked["from"] = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
        grouped = (await client.get("/v1/usage", params=asked)).json()
        meters = (await client.get("/v1/usage", params={"group_by": "meter"})).json()

    assert [(row["requests"], row["input_tokens"], row["cost"]) for row in plain["data"]] == [
        (2, 11, "0.000002")
    ]
    assert "model" not in plain["data"][0]
    assert [(row["model"], row["status"], row["errors"]) for row in grouped["data"]] == [
        ("b/7", 429, 3),
        ("b/7", 200, 0),
        ("a", 200, 0),
    ]
    assert [row.get("latency", {}).get("p50") for row in grouped["data"]] == [None, 9, 7]
    assert {row["meter"]: row["amount"] for row in meters["data"]} == {
        "requests": 2,
        "input_tokens": 11,
        "errors": 3,
    }


async def test_pages_follow_one_another(edge: Edge, ledger: Connection) -> None:
    await used(edge, ledger)
    rows, params = [], {"group_by": "model", "limit": "1"}
    async with edge.client() as client:
        while True:
            page = (await client.get("/v1/usage", params=params)).json()
            rows += page["data"]
            if not page["has_more"]:
                break
            params["page"] = page["next_page"]

    assert [row["model"] for row in rows] == ["b/7", "a"]


async def test_a_spreadsheet_gets_csv(edge: Edge, ledger: Connection) -> None:
    await used(edge, ledger)
    async with edge.client() as client:
        response = await client.get(
            "/v1/usage",
            params={"group_by": ["model", "status"], "limit": "2"},
            headers={"Accept": "text/csv"},
        )

    first, *rows = csv.DictReader(io.StringIO(response.text))
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    assert (first["model"], first["status"], first["errors"]) == ("b/7", "429", "3")
    assert len(rows) == 1
    assert response.headers["x-next-page"]


async def test_the_operator_sees_everybodys(edge: Edge, ledger: Connection) -> None:
    await used(edge, ledger)
    async with edge.client(Authorization=f"Bearer {ADMIN_TOKEN}") as admin:
        largest = await admin.get(
            "/v1/admin/usage", params={"group_by": "account", "top": "input_tokens"}
        )
        one = await admin.get("/v1/admin/usage", params={"account": str(edge.account.id)})
    async with edge.client() as client:
        refused = await client.get("/v1/admin/usage")

    assert [row["input_tokens"] for row in largest.json()["data"]] == [100, 11]
    assert [row["input_tokens"] for row in one.json()["data"]] == [11]
    assert refused.status_code == 401


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({"from": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z"}, "from"),
        ({"from": "1999-01-01T00:00:00Z"}, "from"),
        ({"bucket": "hour", "from": "2001-01-01T00:00:00Z"}, "from"),
        ({"from": "yesterday"}, "from"),
        ({"bucket": "fortnight"}, "bucket"),
        ({"group_by": "model,shoe size"}, "group_by"),
        ({"page": "../../etc/passwd"}, "page"),
        ({"limit": "0"}, "limit"),
        ({"limit": "many"}, "limit"),
        ({"status": "-1"}, "status"),
        ({"model": "\0"}, "model"),
        ({"top": "secret"}, "top"),
    ],
)
async def test_what_cannot_be_meant_is_a_400_that_names_it(
    edge: Edge, params: dict[str, str], param: str
) -> None:
    async with edge.client() as client:
        response = await client.get("/v1/usage", params=params)

    assert response.status_code == 400, response.text
    assert response.json()["error"]["param"] == param, response.text


async def test_refused_requests_are_counted_together_by_kind(
    nats: Client, nats_url: str, database_url: str, ledger: Connection
) -> None:
    async with running(nats, nats_url, database_url, ledger, failures_s=0.05) as edge:
        await edge.announce()
        async with edge.client() as client:
            for _ in range(3):
                await client.post("/v1/rogue/echo", json={"text": ""})
                await client.post(f"/v1/{new_id()}/echo", json={"text": "a"})
            await client.post("/v1/rogue/nothing", json={})
        await until(lambda: _errors(edge, 7))
        found = {(one.model, one.task, one.status): one for one in await _stated(edge)}

    assert set(found) == {
        ("rogue", "echo", 422),
        ("unknown", "unknown", 404),
        ("rogue", "unknown", 404),
    }
    assert all(one.quantities.requests == 0 for one in found.values())
    assert {one.account_id for one in found.values()} == {edge.account.id}


async def test_what_was_refused_last_is_stated_when_an_edge_leaves(
    nats: Client, nats_url: str, database_url: str, ledger: Connection
) -> None:
    async with running(nats, nats_url, database_url, ledger) as edge:
        await edge.announce()
        async with edge.client() as client:
            await client.post("/v1/rogue/echo", json={})
        before = await edge.metered()

    assert (before, await edge.metered()) == (0, 1)


async def _errors(edge: Edge, number: int) -> bool:
    return sum(one.quantities.errors for one in await _stated(edge)) == number


async def _stated(edge: Edge) -> list[Usage]:
    subscription = await edge.nats.jetstream().subscribe(usage.SUBJECTS, ordered_consumer=True)
    messages = [await subscription.next_msg(PATIENCE_S) for _ in range(await edge.metered())]
    await subscription.unsubscribe()
    return [usage.decode(message.data).data for message in messages]

"""The gate, asked as proxies ask."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from nats.aio.client import Client

from edge.gate import BadGatesFile, read_gates
from events import streams, usage
from events.usage import UsageRecorded
from ledger.db import Connection
from tests.edge.running import Edge, running

GATES = """
[[gate]]
name = "translate"
prefix = "/translate"

[[gate]]
name = "translate-fast"
prefix = "/translate/fast/"
"""
PLANS = """
[[plan]]
name = "default"
prices = { requests = "2000.00" }

[[plan.policy]]
name = "calls"
unit = "requests"
limit = 2
window = "day"
only = ["gate"]
"""


@pytest.fixture
async def gated(
    nats: Client, nats_url: str, database_url: str, ledger: Connection, tmp_path: Path
) -> AsyncIterator[Edge]:
    (tmp_path / "gates.toml").write_text(GATES)
    (tmp_path / "plans.toml").write_text(PLANS)
    files = {
        "gates_file": str(tmp_path / "gates.toml"),
        "plans_file": str(tmp_path / "plans.toml"),
    }
    async with running(nats, nats_url, database_url, ledger, **files) as edge:
        yield edge


async def test_a_request_is_let_through_with_its_identity_and_metered(gated: Edge) -> None:
    forwarded = {"X-Forwarded-Method": "PUT", "X-Forwarded-Uri": "/translate/en/de?x=1"}
    async with gated.client() as client:
        passed = await client.get("/gate", headers=forwarded)
        envoys = await client.post("/gate/translate/fast/de", content=b"ignored")
        third = await client.get("/gate", headers=forwarded)

    assert (passed.status_code, passed.content) == (200, b"")
    assert passed.headers["x-tollgate-account"] == str(gated.account.id)
    assert passed.headers["x-tollgate-key"] == gated.key.id
    assert passed.headers["x-tollgate-plan"] == "default"
    assert passed.headers["ratelimit-policy"] == '"calls";q=2;w=86400'
    assert envoys.status_code == 200
    assert (third.status_code, third.json()["policy"]) == (429, "calls")
    assert int(third.headers["retry-after"]) > 0
    jetstream = gated.nats.jetstream()
    stored = [await jetstream.get_msg(streams.USAGE, number) for number in (1, 2)]
    events = [usage.decode(message.data or b"") for message in stored]
    assert [(event.data.model, event.data.task) for event in events] == [
        ("translate", "gate"),
        ("translate-fast", "gate"),
    ]
    assert all(isinstance(event, UsageRecorded) for event in events)
    assert events[0].data.quantities.cost == 2_000_000  # 2,000 for a million
    assert (events[0].data.plan, events[0].data.rates) == ("default", {"requests": 2_000_000})


@pytest.mark.parametrize(
    "uri",
    ["/", "/other", "/translated", "/translate/../other", "/translate/%2e%2e/other", "/a\\..\\b"],
)
async def test_a_path_without_a_gate_is_refused(gated: Edge, uri: str) -> None:
    async with gated.client() as client:
        refused = await client.get("/gate", headers={"X-Forwarded-Uri": uri})

    assert (refused.status_code, refused.json()["code"]) == (403, "not_gated")
    assert await gated.metered() == 0


async def test_who_is_nobody_is_refused(gated: Edge) -> None:
    async with gated.client(Authorization="Bearer nothing") as client:
        refused = await client.get("/gate", headers={"X-Forwarded-Uri": "/translate"})

    assert refused.status_code == 401
    assert "www-authenticate" in refused.headers


async def test_many_at_once_pass_exactly_as_often_as_they_may(gated: Edge) -> None:
    forwarded = {"X-Forwarded-Uri": "/translate"}
    async with gated.client() as client:
        answers = await asyncio.gather(*[client.get("/gate", headers=forwarded) for _ in range(20)])

    assert sorted(answer.status_code for answer in answers) == [200] * 2 + [429] * 18
    assert await gated.metered() == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gate = 1", "Expected"),
        ('[[gate]]\nname = "a"\nprefix = "b"', "prefix"),
        ('[[gate]]\nname = "a"\nprefix = "/b"\nfast = true', "unknown field"),
        ('[[gate]]\nname = "a"\nprefix = "/b"\n' * 2, "twice"),
    ],
)
def test_a_bad_gates_file_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "gates.toml").write_text(text)

    with pytest.raises(BadGatesFile, match=said):
        read_gates(tmp_path / "gates.toml")

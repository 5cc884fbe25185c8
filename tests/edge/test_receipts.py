"""GET /v1/usage/requests/{id}: what one request used, and a receipt for it."""

import json
from base64 import b64encode
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from msgspec.structs import replace
from nats.aio.client import Client
from nats.aio.msg import Msg

from events import usage
from events.ids import new_id, time_of
from events.inference import Ask
from events.jws import read_keys
from events.receipts import verify
from events.usage import UsageEvent
from ledger.accounts import change_account
from ledger.db import Connection
from ledger.usage import fold_usage
from tests.edge.running import ADMIN_TOKEN, Edge, answered, reply, running
from tests.usage import a_usage, recorded, voided
from tests.waiting import PATIENCE_S

OLD, NEW = (b64encode(seed * 32).decode() for seed in (b"o", b"n"))
ISSUER = "https://api.example.com"
PLANS = """
[[plan]]
name = "default"

[[plan]]
name = "paid"
prices = { input_words = "1.00", requests = "250.00", output_words = "4.00" }
billed = ["input_words", "requests"]
"""


async def echo(message: Msg, ask: Ask) -> None:
    await reply(message, answered(ask.input))


@pytest.fixture
async def signing(
    nats: Client, nats_url: str, database_url: str, ledger: Connection, tmp_path: Path
) -> AsyncIterator[Edge]:
    (tmp_path / "plans.toml").write_text(PLANS)
    settings = {
        "plans_file": str(tmp_path / "plans.toml"),
        "receipt_keys": f"{NEW},{OLD}",
        "receipt_issuer": ISSUER,
    }
    async with running(nats, nats_url, database_url, ledger, **settings) as edge:
        yield edge


async def folded(edge: Edge, ledger: Connection) -> None:
    """As a consumer does."""
    subscription = await edge.nats.jetstream().subscribe(usage.SUBJECTS, ordered_consumer=True)
    messages = [await subscription.next_msg(PATIENCE_S) for _ in range(await edge.metered())]
    await subscription.unsubscribe()
    await fold_usage(ledger, [usage.decode(message.data) for message in messages])


async def request_of(edge: Edge, request_id: UUID) -> Any:
    async with edge.client() as client:
        response = await client.get(f"/v1/usage/requests/{request_id}")
    assert response.status_code == 200, response.text
    return response.json()


async def test_a_customer_gets_a_receipt_and_verifies_it(signing: Edge, ledger: Connection) -> None:
    edge = signing
    await edge.serve(echo, model="good")
    await change_account(ledger, edge.account.id, {"plan": "paid"})
    async with edge.client() as client:
        # a request is answered, and its record folded a moment later
        answer = await client.post("/v1/good/echo", json={"text": "hello"})
        request_id = answer.headers["x-request-id"]
        path = f"/v1/usage/requests/{request_id}"
        early = await client.get(path)
        await folded(edge, ledger)
        found = (await client.get(path)).json()
        # the keys are for anybody to have
        published = await client.get("/v1/receipts/keys", headers={"Authorization": ""})

    receipt = verify(found.pop("receipt"), read_keys(published.content))
    claims = json.loads(receipt.payload)
    assert (early.status_code, early.headers["retry-after"]) == (404, "1")
    assert "a second or two" in early.json()["message"]
    assert "refused or failed are not recorded" in early.json()["message"]
    assert published.headers["cache-control"] == "public, max-age=300"
    assert found["request_id"] == request_id
    assert (found["account"], found["key"]) == (str(edge.account.id), edge.key.id)
    assert (found["model"], found["task"], found["status"]) == ("good", "echo", 200)
    assert (found["plan"], found["billed"], found["parts"]) == ("paid", True, 1)
    assert found["price_per_unit"] == {"input_words": "0.000001", "requests": "0.00025"}
    assert (found["quantities"]["input_words"], found["cost"]) == (1, "0.000251")
    assert sum(
        Decimal(price) * found["quantities"][unit]
        for unit, price in found["price_per_unit"].items()
    ) == Decimal(found["cost"])
    assert datetime.fromisoformat(found["started_at"]) == time_of(UUID(request_id))
    assert found["duration_ms"] > 0
    assert claims == {**found, "iss": ISSUER, "iat": claims["iat"]}
    assert abs(claims["iat"] - datetime.now(UTC).timestamp()) < PATIENCE_S


async def test_the_first_key_signs_and_all_are_published(signing: Edge, ledger: Connection) -> None:
    fact = a_usage(signing.account.id)
    await fold_usage(ledger, [recorded(fact)])
    async with signing.client() as client:
        published = (await client.get("/v1/receipts/keys")).json()["keys"]
        keys = read_keys((await client.get("/v1/receipts/keys")).content)
    found = await request_of(signing, fact.request_id)

    assert [key["kid"] for key in published] == list(keys)
    assert {(key["kty"], key["crv"], key["alg"]) for key in published} == {
        ("OKP", "Ed25519", "EdDSA")
    }
    assert all("d" not in key for key in published)
    assert verify(found["receipt"], keys).kid == published[0]["kid"]


async def test_the_parts_of_a_stream_are_added_up(signing: Edge, ledger: Connection) -> None:
    first = replace(a_usage(signing.account.id, output_tokens=3, cost=30), plan="paid")
    parts = [
        first,
        replace(first, part=1, quantities=replace(first.quantities, requests=0)),
        replace(first, part=2, duration_ms=2_500, quantities=replace(first.quantities, requests=0)),
    ]
    await fold_usage(ledger, [recorded(part) for part in parts[:2]])
    running_still = await request_of(signing, first.request_id)
    await fold_usage(ledger, [recorded(parts[2])])
    whole = await request_of(signing, first.request_id)
    await fold_usage(ledger, [voided(parts[1])])
    corrected = await request_of(signing, first.request_id)

    assert (running_still["parts"], running_still["duration_ms"]) == (2, None)
    assert (whole["parts"], whole["duration_ms"]) == (3, 2_500)
    assert whole["quantities"]["output_tokens"] == 9
    assert (whole["quantities"]["requests"], whole["cost"]) == (1, "0.00000009")
    assert (corrected["parts"], corrected["quantities"]["output_tokens"]) == (2, 6)
    assert corrected["billed"] is True


@pytest.mark.parametrize("record", [True, False], ids=["both", "the void came first"])
async def test_what_was_taken_back_is_not_billed(
    signing: Edge, ledger: Connection, *, record: bool
) -> None:
    fact = replace(a_usage(signing.account.id, input_words=7, cost=7_000), plan="paid")
    events: list[UsageEvent] = [recorded(fact)] if record else []
    await fold_usage(ledger, [*events, voided(fact)])
    found = await request_of(signing, fact.request_id)

    assert (found["billed"], found["parts"], found["cost"]) == (False, 0, "0.00")
    assert set(found["quantities"].values()) == {0}


async def test_what_was_recorded_before_there_were_plans_in_it_says_so(
    signing: Edge, ledger: Connection
) -> None:
    fact = a_usage(signing.account.id, input_words=7, cost=7_000)
    await fold_usage(ledger, [recorded(fact)])
    found = await request_of(signing, fact.request_id)

    assert (found["plan"], found["price_per_unit"], found["cost"]) == (None, None, "0.000007")


def id_at(time: datetime) -> UUID:
    return UUID(int=round(time.timestamp() * 1_000) << 80 | new_id().int & (1 << 80) - 1)


@pytest.mark.parametrize(
    ("request_id", "said"),
    [
        ("nonsense", "X-Request-Id"),
        ("9b2dbe6e-9d33-4ad4-8a33-0a4cd8a3a1a2", "X-Request-Id"),
        (str(UUID(int=0)), "X-Request-Id"),
        ("ffffffff-ffff-7fff-bfff-ffffffffffff", "X-Request-Id"),
        ("%00", "X-Request-Id"),
        pytest.param(
            str(id_at(datetime.now(UTC) - timedelta(days=1))), "older than what is kept", id="old"
        ),
        pytest.param(
            str(id_at(datetime(9999, 12, 31, tzinfo=UTC))), "no answered request", id="future"
        ),
    ],
)
async def test_what_is_not_there_is_a_404_that_says_why(
    signing: Edge, request_id: str, said: str
) -> None:
    async with signing.client() as client:
        response = await client.get(f"/v1/usage/requests/{request_id}")

    assert (response.status_code, response.json()["code"]) == (404, "unknown_request")
    assert said in response.json()["message"]


async def test_somebody_elses_request_is_not_there_but_for_the_operator(
    signing: Edge, ledger: Connection
) -> None:
    theirs = a_usage()
    await fold_usage(ledger, [recorded(theirs)])
    async with signing.client() as client:
        refused = await client.get(f"/v1/usage/requests/{theirs.request_id}")
        nobodys = await client.get(f"/v1/usage/requests/{new_id()}")
        closed = await client.get(f"/v1/admin/usage/requests/{theirs.request_id}")
    async with signing.client(Authorization=f"Bearer {ADMIN_TOKEN}") as admin:
        seen = await admin.get(f"/v1/admin/usage/requests/{theirs.request_id}")

    assert (refused.status_code, refused.json()["code"]) == (404, "unknown_request")
    assert refused.json()["message"] == nobodys.json()["message"]
    assert closed.status_code == 401
    assert seen.json()["account"] == str(theirs.account_id)


async def test_refused_requests_stated_together_are_no_request(
    signing: Edge, ledger: Connection
) -> None:
    refusals = replace(a_usage(signing.account.id, requests=0, errors=3), status=429)
    await fold_usage(ledger, [recorded(refusals)])
    async with signing.client() as client:
        response = await client.get(f"/v1/usage/requests/{refusals.request_id}")

    assert response.status_code == 404


async def test_without_a_key_there_are_facts_and_no_receipt(edge: Edge, ledger: Connection) -> None:
    fact = a_usage(edge.account.id, input_words=7)
    await fold_usage(ledger, [recorded(fact)])
    found = await request_of(edge, fact.request_id)
    async with edge.client() as client:
        published = (await client.get("/v1/receipts/keys")).json()

    assert found["receipt"] is None
    assert found["quantities"]["input_words"] == 7
    assert published == {"keys": []}

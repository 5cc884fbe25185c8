"""Keys while PostgreSQL comes and goes."""

import asyncio

from nats.aio.client import Client
from nats.aio.msg import Msg

from events.inference import Ask
from ledger.api_keys import create_key, revoke_key
from ledger.db import Connection
from tests.edge.running import KEY_SECRET, Edge, answered, reply, running
from tests.link import linked
from tests.waiting import PATIENCE_S

ECHO = {"text": "hello"}


async def echo(message: Msg, ask: Ask) -> None:
    await reply(message, answered(ask.input))


async def test_a_known_key_works_while_postgresql_is_away_and_an_unknown_one_waits(
    nats: Client, nats_url: str, database_url: str, ledger: Connection
) -> None:
    async with (
        linked(database_url) as (link, url),
        running(nats, nats_url, url, ledger) as edge,
        edge.client() as client,
    ):
        await edge.serve(echo, model="good")
        _, unseen = await create_key(ledger, edge.account.id, "", KEY_SECRET.encode())
        stranger = {"Authorization": f"Bearer {unseen}"}
        before = await client.post("/v1/good/echo", json=ECHO)
        link.cut()
        known = await client.post("/v1/good/echo", json=ECHO)
        unknown = await client.post("/v1/good/echo", json=ECHO, headers=stranger)
        usage = await client.get("/v1/usage")
        ready = await client.get("/readyz")
        link.restore()
        async with asyncio.timeout(PATIENCE_S):
            while (
                again := await client.post("/v1/good/echo", json=ECHO, headers=stranger)
            ).status_code == 503:
                await asyncio.sleep(0.1)

    assert before.status_code == known.status_code == ready.status_code == again.status_code == 200
    for refused in (unknown, usage):
        assert (refused.status_code, refused.json()["code"]) == (503, "ledger_unavailable")
        assert refused.headers["retry-after"] == "1"


async def test_a_revoked_key_is_refused_once_that_is_announced(
    edge: Edge, ledger: Connection
) -> None:
    await edge.serve(echo, model="good")
    async with edge.client() as client:
        before = await client.post("/v1/good/echo", json=ECHO)
        await revoke_key(ledger, edge.key.id)
        async with asyncio.timeout(PATIENCE_S):
            while (after := await client.post("/v1/good/echo", json=ECHO)).is_success:
                await asyncio.sleep(0.05)

    assert before.status_code == 200
    assert (after.status_code, after.json()["code"]) == (401, "revoked_key")

"""Webhooks of budgets, to a real receiver."""

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
import uvicorn

from deploy.local.ports import free_port
from events import streams
from events.budgets import BudgetReached
from ledger.accounts import create_account
from ledger.budgets import note_reached, set_webhook
from tests.consumers.pipeline import Pipeline
from tests.edge.running import Server
from tests.waiting import until


class Receiver:
    """A customer's server: what it got, and what it answers."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.answers: list[int] = []
        self.headers: list[tuple[bytes, bytes]] = []
        self.port = free_port()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = (await receive())["body"]
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        self.got.append((headers, body))
        status = self.answers.pop(0) if self.answers else 204
        await send({"type": "http.response.start", "status": status, "headers": self.headers})
        await send({"type": "http.response.body", "body": b""})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    server = Server(uvicorn.Config(receiver, port=receiver.port, lifespan="off", log_config=None))
    serving = asyncio.create_task(server.serve())
    await until(lambda: server.started)
    try:
        yield receiver
    finally:
        server.should_exit = True
        await serving


async def reached(pipeline: Pipeline, *, percent: int = 80) -> BudgetReached:
    account = await create_account(pipeline.ledger, "tests")
    now = datetime.now(UTC)
    return BudgetReached(
        account_id=account.id,
        budget="monthly_budget",
        percent=percent,
        spent=percent,
        limit=100,
        window_start=now.replace(day=1, hour=0, minute=0, second=0, microsecond=0),
        timestamp=now,
    )


async def test_a_budget_is_told_of_once_and_signed(pipeline: Pipeline) -> None:
    async with receiving() as receiver:
        event = await reached(pipeline)
        webhook = await set_webhook(pipeline.ledger, event.account_id, receiver.url)
        assert await note_reached(pipeline.ledger, event)
        assert not await note_reached(pipeline.ledger, event)  # another edge saw it, too
        async with pipeline.consuming():
            await until(lambda: receiver.got)
            await pipeline.until_settled(streams.BUDGETS)

    assert len(receiver.got) == 1
    headers, body = receiver.got[0]
    assert json.loads(body)["percent"] == 80
    assert webhook
    key = base64.b64decode(webhook.secret.removeprefix("whsec_"))
    content = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"


async def test_a_receiver_that_fails_is_asked_again_with_the_same_id(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consumers.hooks.FIRST_S", 0.1)
    async with receiving() as receiver:
        receiver.answers = [500, 302]
        event = await reached(pipeline)
        await set_webhook(pipeline.ledger, event.account_id, receiver.url)
        await note_reached(pipeline.ledger, event)
        async with pipeline.consuming():
            await until(lambda: len(receiver.got) == 3)
            await pipeline.until_settled(streams.BUDGETS)

    assert len({headers["webhook-id"] for headers, _ in receiver.got}) == 1


async def test_without_a_webhook_nobody_is_told(pipeline: Pipeline) -> None:
    event = await reached(pipeline)
    await note_reached(pipeline.ledger, event)
    async with pipeline.consuming():
        await until(lambda: _announced(pipeline))
        await pipeline.until_settled(streams.BUDGETS)


async def _announced(pipeline: Pipeline) -> bool:
    info = await pipeline.nats.jetstream().stream_info(streams.BUDGETS)
    return bool(info.state.messages)

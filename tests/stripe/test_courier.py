"""Events are delivered as badly as a test wants them, and signed as Stripe signs."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
import stripe
import uvicorn
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from deploy.local.ports import free_port
from tests.edge.running import Server
from tests.stripe.running import StandIn, standing_in
from tests.waiting import PATIENCE_S, until

SECRET = "whsec_courier"


class Hook:
    """A webhook endpoint that notes what comes."""

    def __init__(self) -> None:
        self.url = ""
        self.bodies: list[bytes] = []
        self.signatures: list[str] = []
        self.refuses = 0  # so many more

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        body = await request.body()
        if self.refuses:
            self.refuses -= 1
            await Response("", 503)(scope, receive, send)
            return
        self.bodies.append(body)
        self.signatures.append(request.headers["stripe-signature"])
        await Response("", 202)(scope, receive, send)


@pytest.fixture
async def hook() -> AsyncIterator[Hook]:
    async with _hooked() as running:
        yield running


@asynccontextmanager
async def _hooked() -> AsyncIterator[Hook]:
    hook, port = Hook(), free_port()
    hook.url = f"http://127.0.0.1:{port}/hook"
    config = uvicorn.Config(hook, port=port, lifespan="off", ws="none", log_config=None)
    server = Server(config)
    serving = asyncio.create_task(server.serve())
    await until(lambda: server.started)
    yield hook
    server.should_exit = True
    await serving


def sent(stand_in: StandIn) -> list[bytes]:
    return [event.body for event in stand_in.account.journal.events]


async def test_what_is_sent_is_signed_and_as_it_was_then(hook: Hook) -> None:
    async with standing_in(hook.url, secret=SECRET) as stand_in:
        made = stand_in.account.post("/v1/customers", name="Ada")
        stand_in.account.post(f"/v1/customers/{made['id']}", name="Charles")
        await until(lambda: len(hook.bodies) == 2)

    for body, signature in zip(hook.bodies, hook.signatures, strict=True):
        event = stripe.Webhook.construct_event(body.decode(), signature, SECRET)
        assert event.data.object["name"] in ("Ada", "Charles")
    assert sorted(hook.bodies) == sorted(sent(stand_in))


async def test_deliveries_are_held_shuffled_duplicated_and_dropped(hook: Hook) -> None:
    async with standing_in(hook.url, secret=SECRET, seed=3, held=True) as stand_in:
        for number in range(100):
            stand_in.account.post("/v1/customers", name=str(number))
        await stand_in.delivered()
        assert not hook.bodies

        stand_in.control.deliver(shuffle=True, duplicates=2, drop=0.2, delay_s=0.05)
        await stand_in.delivered()
        dropped = [event.body for event in stand_in.app.courier.dropped]
        times = Counter(hook.bodies)

    assert 5 < len(dropped) < 40
    assert set(times) == set(sent(stand_in)) - set(dropped)
    assert max(times.values()) == 3
    assert list(times) != [body for body in sent(stand_in) if body in times]


async def test_who_refuses_is_told_again_and_who_is_stale_once_more(hook: Hook) -> None:
    hook.refuses = 3
    async with standing_in(hook.url, secret=SECRET) as stand_in:
        stand_in.account.post("/v1/customers")
        await until(lambda: hook.bodies)
        await stand_in.delivered()
        stand_in.control.resend(stand_in.account.journal.events[0].id)
        await until(lambda: len(hook.bodies) == 2)

    assert hook.bodies == sent(stand_in) * 2


async def test_an_endpoint_made_over_the_api_hears_what_it_asked_for(hook: Hook) -> None:
    async with standing_in() as stand_in:
        api = stand_in.api()
        made = await api.post(
            "/v1/webhook_endpoints",
            idempotency_key="w",
            url=hook.url,
            enabled_events=["customer.deleted"],
        )
        shown = await api.get(f"/v1/webhook_endpoints/{made['id']}")
        customer = await api.post("/v1/customers", idempotency_key="c")
        await api.delete(f"/v1/customers/{customer['id']}")
        await until(lambda: hook.bodies)
        await api.close()

    (signature,) = hook.signatures
    assert stripe.Webhook.construct_event(hook.bodies[0].decode(), signature, made["secret"])
    assert "secret" not in shown


async def test_the_levers_work_over_http(hook: Hook) -> None:
    async with (
        standing_in(hook.url, secret=SECRET) as stand_in,
        httpx.AsyncClient(base_url=f"{stand_in.url}/_control", timeout=PATIENCE_S) as control,
    ):
        held = await control.post("/deliver", json={"held": True})
        wrong = await control.post("/deliver", json={"drop": "often"})
        unknown = await control.post("/explode", json={})
        moved = await control.post("/advance", json={"seconds": 86_400})
        state = (await control.post("/state")).json()

    assert [one.status_code for one in (held, wrong, unknown)] == [200, 400, 404]
    assert state["now"] == moved.json()["now"]
    assert state["idle"]

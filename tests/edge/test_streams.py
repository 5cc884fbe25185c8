"""Streams: in order, metered while they run, stopped by whatever has to stop them."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from edge import stream as edge_stream
from edge.admission import Reservation
from edge.auth import Caller
from events import inference, streams, usage
from events.inference import CANCELS, WINDOW, Ask, Busy, Chunk, Ended, Failed, Refused, Timing
from events.usage import Quantities, UsageRecorded
from ledger.accounts import change_account
from ledger.api_keys import revoke_key
from ledger.db import Connection
from tests.edge.running import Edge, hold, reply, running
from tests.sse import Event, events_of
from tests.waiting import PATIENCE_S, until

PATH = "/v1/rogue/generation"
BODY = {"text": "Count", "stream": True}
PLANS = """
[[plan]]
name = "default"
concurrency = 4

[[plan]]
name = "paid"
prices = { output_tokens = "1000.00" }
monthly_budget = "0.040"

[[plan]]
name = "generous"
disconnected = "free"
prices = { output_tokens = "1000.00" }
monthly_budget = "0.040"

[[plan]]
name = "strict"
disconnected = "generated"

[[plan]]
name = "slow"
[[plan.policy]]
name = "tokens"
unit = "output_tokens"
limit = 20
window = "minute"
"""  # a token costs a thousandth


class Writer:
    """A worker whose stream goes as the test says."""

    def __init__(self, edge: Edge) -> None:
        self._nats = edge.nats
        self.asked: list[Ask] = []
        self.cancelled: list[UUID] = []
        self.read = 0
        self.sent = 0
        self.go_on = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.script: Callable[[Msg, Ask], Coroutine[Any, Any, None]]

    async def start(self) -> None:
        self.inbox = self._nats.new_inbox()
        await self._nats.subscribe(CANCELS, cb=self._cancel)
        await self._nats.subscribe(self.inbox, cb=self._hear)

    async def __call__(self, message: Msg, ask: Ask) -> None:
        self.asked.append(ask)
        self._tasks.append(asyncio.create_task(self.script(message, ask)))

    async def _cancel(self, message: Msg) -> None:
        self.cancelled.append(inference.cancelled(message.subject))

    async def _hear(self, message: Msg) -> None:
        self.read = inference.decode_read(message.data)

    async def say(self, message: Msg, *words: str) -> None:
        for word in words:
            chunk = Chunk(self.sent, json.dumps({"text": word}).encode(), self.so_far(1))
            await self._nats.publish(message.reply, inference.encode(chunk), reply=self.inbox)
            self.sent += 1

    def so_far(self, more: int = 0) -> Quantities:
        return Quantities(input_words=1, output_tokens=self.sent + more)

    async def end(self, message: Msg, reason: Any = "stop") -> None:
        await reply(message, Ended(reason, self.sent, self.so_far(), Timing()))


@pytest.fixture
async def streaming(
    nats: Client, nats_url: str, database_url: str, ledger: Connection, tmp_path: Path
) -> AsyncIterator[tuple[Edge, Writer]]:
    plans = tmp_path / "plans.toml"
    plans.write_text(PLANS)
    async with running(nats, nats_url, database_url, ledger, plans_file=str(plans)) as edge:
        writer = Writer(edge)
        await writer.start()
        await edge.serve(writer, task="generation")
        yield edge, writer


@asynccontextmanager
async def stream(edge: Edge) -> AsyncIterator[tuple[httpx.Response, AsyncIterator[Event]]]:
    async with edge.client() as client, client.stream("POST", PATH, json=BODY) as response:
        yield response, events_of(response)


async def all_of(edge: Edge) -> list[Event]:
    async with stream(edge) as (response, events):
        assert response.status_code == 200
        return [event async for event in events]


async def billed(edge: Edge) -> Counter[str]:
    """What is billed of all streams together."""
    sums: Counter[str] = Counter()
    for event in await recorded(edge):
        sign = 1 if isinstance(event, UsageRecorded) else -1
        for name in ("requests", "output_tokens", "input_words", "cost"):
            sums[name] += sign * getattr(event.data.quantities, name)
    return sums


async def recorded(edge: Edge) -> list[usage.UsageEvent]:
    subscription = await edge.nats.jetstream().subscribe(usage.SUBJECTS, ordered_consumer=True)
    messages = [await subscription.next_msg(PATIENCE_S) for _ in range(await edge.metered())]
    await subscription.unsubscribe()
    return [usage.decode(message.data) for message in messages]


async def test_pieces_come_in_order_and_all_of_them_are_billed(
    streaming: tuple[Edge, Writer],
) -> None:
    edge, writer = streaming

    async def script(message: Msg, ask: Ask) -> None:
        assert ask.stream
        await writer.say(message, "one ", "two ", "three")
        await writer.end(message, "length")

    writer.script = script
    async with stream(edge) as (response, events):
        found = [event async for event in events]

    assert response.headers["content-type"] == "text/event-stream"
    assert UUID(response.headers["x-request-id"]) == writer.asked[0].request_id
    assert [event.data["text"] for event in found[:-1]] == ["one ", "two ", "three"]
    assert found[-1].name == "end"
    assert found[-1].data["reason"] == "length"
    assert found[-1].data["usage"] == {"input_words": 1, "output_tokens": 3}
    assert await billed(edge) == Counter(requests=1, output_tokens=3, input_words=1)
    assert not writer.cancelled


async def test_a_silent_stream_says_now_and_then_that_it_is_alive(
    streaming: tuple[Edge, Writer], monkeypatch: pytest.MonkeyPatch
) -> None:
    edge, writer = streaming
    monkeypatch.setattr(edge_stream, "QUIET_S", 0.05)

    async def script(message: Msg, _: Ask) -> None:
        await writer.say(message, "one")
        await hold(message, writer.go_on)
        await writer.end(message)

    writer.script = script
    lines = []
    async with edge.client() as client, client.stream("POST", PATH, json=BODY) as response:
        async for line in response.aiter_lines():
            lines.append(line)
            if lines.count(":") > 1:  # a comment, to every reader of events
                writer.go_on.set()

    assert lines.index(":") > lines.index('data: {"text": "one"}')
    assert "event: end" in lines


async def test_a_long_stream_is_metered_while_it_runs(streaming: tuple[Edge, Writer]) -> None:
    edge, writer = streaming

    async def script(message: Msg, _: Ask) -> None:
        await writer.say(message, "one", "two")
        await hold(message, writer.go_on)
        await writer.say(message, "three")
        await writer.end(message)

    writer.script = script
    async with stream(edge) as (_, events):
        assert (await anext(events)).data == {"text": "one"}
        await until(lambda: _billed_so_far(edge, 2))
        writer.go_on.set()
        rest = [event async for event in events]

    found = await recorded(edge)
    assert rest[-1].name == "end"
    assert [event.data.part for event in found] == [0, 1]
    assert [event.data.quantities.requests for event in found] == [1, 0]
    assert found[-1].data.duration_ms > 0
    assert (await billed(edge))["output_tokens"] == 3


async def _billed_so_far(edge: Edge, tokens: int) -> bool:
    return (await billed(edge))["output_tokens"] == tokens


@pytest.mark.parametrize(
    ("said", "status"),
    [(Refused("too_long", "shorten it", 422), 422), (Failed(), 502), (Busy(1, 60_000.0), 503)],
)
async def test_what_goes_wrong_before_the_first_piece_is_an_ordinary_status(
    hasty_edge: Edge, said: inference.Reply, status: int
) -> None:
    await hasty_edge.serve(lambda message, _: reply(message, said), task="generation")
    async with hasty_edge.client() as client:
        response = await client.post(PATH, json=BODY)

    assert response.status_code == status
    assert await hasty_edge.metered() == 0


async def test_a_worker_that_fails_in_mid_stream_ends_it_with_an_error_and_a_bill(
    streaming: tuple[Edge, Writer],
) -> None:
    edge, writer = streaming

    async def script(message: Msg, _: Ask) -> None:
        await writer.say(message, "one")
        await reply(message, Failed())

    writer.script = script
    found = await all_of(edge)

    assert [event.name for event in found] == ["", "error"]
    assert found[-1].data["code"] == "model_failed"
    assert (await billed(edge))["output_tokens"] == 1


async def test_a_worker_that_dies_in_mid_stream_is_noticed_by_its_silence(
    streaming: tuple[Edge, Writer],
) -> None:
    edge, writer = streaming
    writer.script = lambda message, _: writer.say(message, "one")
    found = await all_of(edge)

    assert [event.name for event in found] == ["", "error"]
    assert found[-1].data["code"] == "worker_gone"
    assert (await billed(edge))["output_tokens"] == 1


@pytest.mark.parametrize("wrong", ["gap", "shape", "less"])
async def test_a_stream_that_cannot_be_right_ends_with_an_error(
    streaming: tuple[Edge, Writer], wrong: str
) -> None:
    edge, writer = streaming

    async def script(message: Msg, _: Ask) -> None:
        await writer.say(message, "one")
        if wrong == "gap":
            writer.sent += 1
        piece = b"[]" if wrong == "shape" else b'{"text": "two"}'
        less = Quantities() if wrong == "less" else writer.so_far(1)
        await reply(message, Chunk(writer.sent, piece, less))

    writer.script = script
    found = await all_of(edge)

    assert [event.name for event in found] == ["", "error"]
    assert found[-1].data["code"] == "bad_reply"
    assert (await billed(edge))["output_tokens"] == 1
    await until(lambda: len(writer.cancelled) == 1)


@pytest.mark.parametrize(("plan", "tokens"), [("default", 1), ("generous", 0), ("strict", 3)])
async def test_a_caller_that_leaves_stops_the_worker_and_pays_by_its_plan(
    streaming: tuple[Edge, Writer], ledger: Connection, plan: str, tokens: int
) -> None:
    edge, writer = streaming
    await change_account(ledger, edge.account.id, {"plan": plan})

    async def script(message: Msg, ask: Ask) -> None:
        await writer.say(message, "one")
        await until(lambda: ask.request_id in writer.cancelled)
        await writer.say(message, "two", "three")
        await writer.end(message, "cancelled")

    writer.script = script
    async with stream(edge) as (_, events):
        await anext(events)
        await until(lambda: _billed_so_far(edge, 1))

    await until(lambda: writer.sent == 3)
    await until(lambda: _billed_so_far(edge, tokens))
    sums = await billed(edge)
    assert sums["requests"] == (0 if plan == "generous" else 1)
    if plan == "generous":  # and its budget is whole again
        async with edge.client() as client:
            assert (await client.get("/v1/limits")).json()["data"][0]["used"] == 0


async def test_a_caller_that_leaves_though_it_has_sent_more_ahead_stops_the_worker(
    streaming: tuple[Edge, Writer],
) -> None:
    edge, writer = streaming

    async def script(message: Msg, ask: Ask) -> None:
        while ask.request_id not in writer.cancelled:
            await writer.say(message, "more")
            await asyncio.sleep(0.01)

    writer.script = script
    body = json.dumps(BODY)
    request = (
        f"POST {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {edge.api_key}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}"
    )
    reader, caller = await asyncio.open_connection("127.0.0.1", edge.port)
    caller.write(2 * request.encode())
    await reader.readuntil(b"more")
    caller.transport.abort()

    await until(lambda: writer.cancelled)
    assert len(writer.asked) == 1  # what it had sent ahead is not begun


async def test_a_budget_ends_a_stream_in_the_middle_and_says_so(
    streaming: tuple[Edge, Writer], ledger: Connection
) -> None:
    """Forty tokens' worth: at the forty-first the stream is over."""
    edge, writer = streaming
    await change_account(ledger, edge.account.id, {"plan": "paid"})

    async def script(message: Msg, ask: Ask) -> None:
        while ask.request_id not in writer.cancelled:
            await writer.say(message, "more")
            await asyncio.sleep(0.01)

    writer.script = script
    found = await all_of(edge)

    assert [event.data for event in found[:-1]] == [{"text": "more"}] * 40
    assert found[-1].name == "end"
    assert found[-1].data["reason"] == "budget"
    assert found[-1].data["policy"] == "monthly_budget"
    assert found[-1].data["cost"] == "0.04"
    assert "monthly_budget" in found[-1].data["message"]
    assert (await billed(edge))["cost"] == 40_000_000
    assert {event.data.plan for event in await recorded(edge)} == {"paid"}
    assert all(event.data.rates == {"output_tokens": 1_000_000} for event in await recorded(edge))
    async with edge.client() as client:
        assert (await client.post(PATH, json=BODY)).status_code == 402


async def test_a_rate_ends_a_stream_too(streaming: tuple[Edge, Writer], ledger: Connection) -> None:
    edge, writer = streaming
    await change_account(ledger, edge.account.id, {"plan": "slow"})

    async def script(message: Msg, _: Ask) -> None:
        await writer.say(message, *["more"] * 30)
        await writer.end(message)

    writer.script = script
    found = await all_of(edge)

    assert len(found) == 21
    assert (found[-1].name, found[-1].data["reason"]) == ("end", "limit")
    assert (await billed(edge))["output_tokens"] == 20


async def test_a_budget_that_its_owner_lowers_ends_a_stream_that_runs(
    streaming: tuple[Edge, Writer], ledger: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    edge, writer = streaming
    await change_account(ledger, edge.account.id, {"plan": "paid"})
    renewed: list[int | None] = []  # under which budgets the stream went on
    renew = Reservation.renew

    async def note(self: Reservation, caller: Caller, model: str, task: str) -> None:
        await renew(self, caller, model, task)
        renewed.append(caller.account.own_budget)

    async def script(message: Msg, ask: Ask) -> None:
        await writer.say(message, *["more"] * 10)
        await hold(message, writer.go_on)
        while ask.request_id not in writer.cancelled:
            await writer.say(message, "more")
            await asyncio.sleep(0.05)

    monkeypatch.setattr(Reservation, "renew", note)
    writer.script = script
    async with stream(edge) as (_, events):
        for _ in range(10):
            await anext(events)
        async with edge.client() as client:
            lowered = await client.put("/v1/budget", json={"monthly": "0.012"})
        assert lowered.status_code == 200, lowered.text
        await until(lambda: 12_000_000 in renewed)  # announced, and taken up by the stream
        writer.go_on.set()
        rest = [event async for event in events]

    assert rest[-1].data["reason"] == "budget"
    assert (await billed(edge))["cost"] == 12_000_000


async def test_a_key_that_is_revoked_ends_its_streams(
    streaming: tuple[Edge, Writer], ledger: Connection
) -> None:
    edge, writer = streaming
    writer.script = lambda message, _: writer.say(message, "one")
    async with stream(edge) as (_, events):
        await anext(events)
        await revoke_key(ledger, edge.key.id)
        rest = [event async for event in events]

    assert [event.name for event in rest] == ["error"]
    assert rest[0].data["code"] == "revoked_key"
    assert (await billed(edge))["output_tokens"] == 1


async def test_a_slow_reader_slows_its_own_stream(streaming: tuple[Edge, Writer]) -> None:
    edge, writer = streaming
    many = 40 * WINDOW

    async def script(message: Msg, _ask: Ask) -> None:
        for _ in range(many):
            while writer.sent >= writer.read + WINDOW:
                await asyncio.sleep(0.005)
            await writer.say(message, "x" * 20_000)
        await writer.end(message)

    writer.script = script
    async with stream(edge) as (_, events):
        await anext(events)
        before = -1
        while before != writer.sent:  # until it stands still
            before = writer.sent
            await asyncio.sleep(1)
        assert writer.sent < many
        rest = [event async for event in events]

    assert len(rest) == many
    assert rest[-1].name == "end"


async def test_a_stream_holds_its_slot_until_it_ends(streaming: tuple[Edge, Writer]) -> None:
    edge, writer = streaming

    async def script(message: Msg, _: Ask) -> None:
        await writer.say(message, "one")
        await hold(message, writer.go_on)
        await reply(message, Ended("stop", 1, writer.so_far(), Timing()))

    async def one_more() -> int:
        writer.sent = 0
        async with edge.client() as client:
            return (await client.post(PATH, json=BODY)).status_code

    writer.script = script
    running = []
    for _ in range(4):
        writer.sent = 0
        running.append(asyncio.create_task(all_of(edge)))
        await until(lambda: len(writer.asked) == len(running))
    refused = await one_more()
    writer.go_on.set()
    await asyncio.gather(*running)

    assert refused == 429
    assert await one_more() == 200


async def test_a_stream_and_an_idempotency_key_do_not_go_together(
    streaming: tuple[Edge, Writer],
) -> None:
    edge, _ = streaming
    async with edge.client() as client:
        response = await client.post(PATH, json=BODY, headers={"Idempotency-Key": "k"})

    assert (response.status_code, response.json()["code"]) == (400, "invalid_parameter")
    assert (await edge.nats.jetstream().stream_info(streams.USAGE)).state.messages == 0

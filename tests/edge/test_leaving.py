"""Callers who hang up before their answer: what they asked for is stopped, and not billed."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from uuid import UUID

import httpx
import pytest
from msgspec.structs import replace
from nats.aio.client import Client
from nats.aio.msg import Msg
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from edge import workers
from edge.server.http import Protocol
from events import inference, streams, usage
from events.inference import CANCELS, Ask, Expired
from events.usage import Quantities
from ledger.accounts import change_account
from ledger.db import Connection
from tests.edge.running import Edge, answered, hold, reply, running
from tests.inference.scribe import LONG
from tests.inference.test_streams import a_scribe
from tests.inference.test_worker import a_scripted_worker
from tests.waiting import until

PATH = "/v1/rogue/echo"
PLANS = """
[[plan]]
name = "default"

[[plan]]
name = "free"
disconnected = "free"

[[plan]]
name = "strict"
disconnected = "generated"
prices = { output_tokens = "1000.00" }
"""  # a token costs a thousandth
ENDLESS = " ".join([LONG] * 100)  # at ten milliseconds a word: longer than a test has patience


class Worker:
    """Takes requests, and answers when it is let."""

    def __init__(self) -> None:
        self.asked: list[UUID] = []
        self.cancelled: list[UUID] = []
        self.go_on = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self, edge: Edge) -> None:
        await edge.nats.subscribe(CANCELS, cb=self._cancel)
        await edge.serve(self._take)

    async def _cancel(self, message: Msg) -> None:
        self.cancelled.append(inference.cancelled(message.subject))

    async def _take(self, message: Msg, ask: Ask) -> None:
        async def answer() -> None:
            await hold(message, self.go_on)
            await reply(message, answered(ask.input))

        self.asked.append(ask.request_id)
        self._tasks.append(asyncio.create_task(answer()))


@pytest.fixture
async def planned(
    nats: Client, nats_url: str, database_url: str, ledger: Connection, tmp_path: Path
) -> AsyncIterator[Edge]:
    plans = tmp_path / "plans.toml"
    plans.write_text(PLANS)
    async with running(nats, nats_url, database_url, ledger, plans_file=str(plans)) as edge:
        yield edge


@asynccontextmanager
async def calling(
    edge: Edge, path: str, body: dict[str, object], **headers: str
) -> AsyncIterator[None]:
    """A caller who hangs up at the end of the block."""
    async with edge.client() as client:
        client.headers.update(headers)
        task = asyncio.create_task(client.post(path, json=body))
        yield
        task.cancel()
        await asyncio.wait([task])


@pytest.mark.parametrize("length", [5, 99_000])  # the server reads no further while it has much
async def test_who_hangs_up_has_the_request_stopped_and_is_not_billed(
    edge: Edge, length: int
) -> None:
    worker = Worker()
    await worker.start(edge)

    async with _seen_off(edge):
        async with calling(edge, PATH, {"text": "a" * length}):
            await until(lambda: worker.asked)
            assert not worker.cancelled
        await until(lambda: worker.cancelled)
        worker.go_on.set()

    async with edge.client() as client:
        assert (await client.post(PATH, json={"text": "stays"})).status_code == 200
    assert worker.cancelled == worker.asked[:1]
    assert await edge.metered() == 1


async def test_control_a_server_that_tells_nobody_runs_on(
    edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Protocol, "connection_lost", HttpToolsProtocol.connection_lost)
    worker = Worker()
    await worker.start(edge)

    async with calling(edge, PATH, {"text": "hello"}):
        await until(lambda: worker.asked)
    worker.go_on.set()
    await until(lambda: _metered(edge, 1))

    assert not worker.cancelled


async def test_a_key_of_who_hung_up_can_be_used_again(edge: Edge) -> None:
    worker = Worker()
    await worker.start(edge)

    async with calling(edge, PATH, {"text": "once"}, **{"Idempotency-Key": "k"}):
        await until(lambda: worker.asked)
    await until(lambda: worker.cancelled)
    worker.go_on.set()
    async with edge.client() as client:
        client.headers["Idempotency-Key"] = "k"
        await until(lambda: _answered(client, {"text": "once"}))

    assert len(worker.asked) == 2
    assert await edge.metered() == 1


async def test_what_was_cancelled_in_the_queue_never_reaches_the_device(
    edge: Edge, nats_url: str
) -> None:
    await edge.announce(model="scripted")
    path = "/v1/scripted/echo"
    async with a_scripted_worker(nats_url) as model, edge.client() as client:
        cancelled: list[Msg] = []
        await edge.nats.subscribe(CANCELS, cb=_note(cancelled))
        model.gate.clear()
        running = asyncio.create_task(client.post(path, json={"text": "running"}))
        await model.has_begun()
        async with calling(edge, path, {"text": "waiting"}):
            await until(lambda: "waiting" in model.tokenized)
        await until(lambda: cancelled)
        model.gate.set()
        after = await client.post(path, json={"text": "after"})

        assert ((await running).status_code, after.status_code) == (200, 200)
        assert model.batches == [["running"], ["after"]]
        assert await edge.metered() == 2


@pytest.mark.parametrize("stream", [False, True])
async def test_the_next_request_gets_the_slot_of_a_caller_who_hung_up(
    edge: Edge, nats_url: str, *, stream: bool
) -> None:
    await edge.announce(model="scribe", task="generation")
    path = "/v1/scribe/generation"
    async with a_scribe(nats_url, slots=1) as model, edge.client() as client:
        model.pause_s = 0.01
        if stream:
            model.gate.clear()  # so that no piece comes: it leaves while it waits for the first
        async with calling(edge, path, {"text": ENDLESS, "stream": stream, "max_length": 400}):
            await until(lambda: model.steps)
        model.gate.set()

        response = await client.post(path, json={"text": "next"})

        assert response.status_code == 200, response.text
        assert len(model.steps) < len(ENDLESS.split())
        assert await edge.metered() == 1


@pytest.mark.parametrize(("plan", "billed"), [("default", 0), ("free", 0), ("strict", 7)])
async def test_what_was_generated_for_who_hung_up_is_billed_by_the_plan(
    planned: Edge, ledger: Connection, plan: str, billed: int
) -> None:
    edge = planned
    await _move(edge, ledger, plan)
    asked: list[Msg] = []

    async def take(message: Msg, _ask: Ask) -> None:
        asked.append(message)

    async def stop(_message: Msg) -> None:
        used = Quantities(input_tokens=3, output_tokens=7)
        await reply(asked[0], Expired(used))

    await edge.nats.subscribe(CANCELS, cb=stop)
    await edge.serve(take)

    async with _seen_off(edge), calling(edge, PATH, {"text": "hello"}):
        await until(lambda: asked)
    jetstream = edge.nats.jetstream()
    stored = [
        await jetstream.get_msg(streams.USAGE, 1 + number) for number in range(await edge.metered())
    ]
    facts = [usage.decode(message.data or b"").data for message in stored]
    assert [fact.quantities.output_tokens for fact in facts] == [billed] * bool(billed)
    assert all(fact.status == 499 and fact.quantities.cost == 7 * 10**6 for fact in facts)


@pytest.mark.parametrize("writing", [True, False])
async def test_so_is_what_was_translated_for_it(
    planned: Edge, ledger: Connection, *, writing: bool
) -> None:
    """Whether its caller leaves while the model writes, or while the answer is translated."""
    edge = planned
    await _move(edge, ledger, "strict")
    used = Quantities(input_tokens=3, output_tokens=7)
    asked: list[Msg] = []
    translated: list[str] = []

    async def translate(message: Msg, ask: Ask) -> None:
        wanted = json.loads(ask.input)
        translated.append(wanted["text"])
        if wanted["target"] == "en":
            result = b'{"translation_text": "hello"}'
            await reply(message, inference.Answered(result, Quantities(), inference.Timing()))

    async def write(message: Msg, _ask: Ask) -> None:
        asked.append(message)
        if not writing:
            result = b'{"summary_text": "hello"}'
            await reply(message, inference.Answered(result, used, inference.Timing()))

    async def stop(_message: Msg) -> None:
        await reply(asked[0], Expired(used))

    await edge.nats.subscribe(CANCELS, cb=stop)
    await edge.serve(translate, model="speaks", task="translation", languages=("en", "fr"))
    await edge.serve(
        write, model="reads", task="summarization", languages=("en",), translator="speaks"
    )

    calls = calling(edge, "/v1/fr/reads/summarization", {"text": "bonjour"})
    async with _seen_off(edge, "summarization"), calls:
        await until(lambda: len(asked) + len(translated) == (2 if writing else 3))
    await until(lambda: _metered(edge, 1))
    stored = await edge.nats.jetstream().get_msg(streams.USAGE, 1)
    fact = usage.decode(stored.data or b"").data
    assert fact.status == 499
    assert fact.quantities == replace(used, translated_characters=7, cost=7 * 10**6)


async def test_a_worker_without_a_last_word_costs_nothing(
    planned: Edge, ledger: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "STOP_S", 0.05)
    await _move(planned, ledger, "strict")
    worker = Worker()
    await worker.start(planned)

    async with _seen_off(planned), calling(planned, PATH, {"text": "hello"}):
        await until(lambda: worker.asked)
    assert await planned.metered() == 0


async def test_who_comes_again_with_a_key_pays_then(planned: Edge, ledger: Connection) -> None:
    await _move(planned, ledger, "strict")
    worker = Worker()
    await worker.start(planned)

    asking = calling(planned, PATH, {"text": "once"}, **{"Idempotency-Key": "k"})
    async with _seen_off(planned), asking:
        await until(lambda: worker.asked)
    assert await planned.metered() == 0


async def _move(edge: Edge, ledger: Connection, plan: str) -> None:
    """Give the account a plan; returns once the edge knows."""

    async def knows() -> bool:
        return bool((await client.get("/v1/limits")).json()["plan"] == plan)

    await change_account(ledger, edge.account.id, {"plan": plan})
    async with edge.client() as client:
        await until(knows)


def _seen_off(edge: Edge, endpoint: str = "echo") -> AbstractAsyncContextManager[None]:
    """Returns once the edge is done with one more caller who hung up."""
    return edge.counting(f'endpoint="{endpoint}",status="499"')


def _note(messages: list[Msg]) -> Callable[[Msg], Awaitable[None]]:
    async def note(message: Msg) -> None:
        messages.append(message)

    return note


async def _metered(edge: Edge, events: int) -> bool:
    return await edge.metered() == events


async def _answered(client: httpx.AsyncClient, body: dict[str, str]) -> bool:
    return (await client.post(PATH, json=body)).status_code == 200

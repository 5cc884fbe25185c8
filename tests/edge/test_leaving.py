"""Callers who hang up before their answer: what they asked for is stopped, and not billed."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from uuid import UUID

import httpx
import pytest
from nats.aio.msg import Msg
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from edge.http import Protocol
from events import inference
from events.inference import CANCELS, Ask
from tests.edge.running import Edge, answered, reply
from tests.inference.scribe import LONG
from tests.inference.test_streams import a_scribe
from tests.inference.test_worker import a_scripted_worker
from tests.waiting import until

PATH = "/v1/rogue/echo"
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
            await self.go_on.wait()
            await reply(message, answered(ask.input))

        self.asked.append(ask.request_id)
        self._tasks.append(asyncio.create_task(answer()))


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

    async with calling(edge, PATH, {"text": "a" * length}):
        await until(lambda: worker.asked)
        assert not worker.cancelled
    await until(lambda: worker.cancelled)

    worker.go_on.set()
    async with edge.client() as client:
        await until(lambda: _counted(client, 499))
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


def _note(messages: list[Msg]) -> Callable[[Msg], Awaitable[None]]:
    async def note(message: Msg) -> None:
        messages.append(message)

    return note


async def _counted(client: httpx.AsyncClient, status: int) -> bool:
    counted = f'tollgate_requests_total{{endpoint="echo",status="{status}"}}'
    return counted in (await client.get("/metrics")).text


async def _metered(edge: Edge, events: int) -> bool:
    return await edge.metered() == events


async def _answered(client: httpx.AsyncClient, body: dict[str, str]) -> bool:
    return (await client.post(PATH, json=body)).status_code == 200

"""Workers that are full: who waits, in which order, for how long, and where work goes instead."""

import asyncio
import time
from collections.abc import Sequence

import httpx
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

import edge.room
from edge.errors import ModelBusy
from edge.room import Room
from edge.workers import AT_ONCE
from events.inference import Answered, Ask, Busy
from events.models import Limits
from ledger.db import Connection
from tests.edge.running import Edge, answered, reply, running
from tests.inference.scripted import an_ask
from tests.inference.test_worker import a_scripted_worker, ask
from tests.waiting import PATIENCE_S, until

FULL = Busy(queued=3, wait_ms=1_000.0, each_ms=2_000.0)


@pytest.fixture
def slow_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody goes on unless an answer came back."""
    monkeypatch.setattr(edge.room, "SOONEST_S", PATIENCE_S)
    monkeypatch.setattr(edge.room, "LATEST_S", PATIENCE_S)


class Line:
    """Requests that wait in a room, and the order in which they went on."""

    def __init__(self, *, holds: int = 100, busy: Busy = FULL, workers: int = 1) -> None:
        self.room = Room("m", holds=holds, workers=lambda: workers)
        self.room.hear(busy)
        self.order: list[str] = []
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def join(self, name: str, priority: int = 0) -> None:
        async def wait() -> None:
            await self.room.wait(self.room.place(priority), until=time.time() + PATIENCE_S)
            self.order.append(name)

        self.tasks[name] = asyncio.create_task(wait())
        await asyncio.sleep(0)

    async def went_on(self, names: Sequence[str]) -> None:
        await asyncio.gather(*(self.tasks[name] for name in names))

    async def empty(self) -> None:
        while not self.room.is_empty():
            self.room.release()
            await asyncio.sleep(0)
        await asyncio.gather(*self.tasks.values(), return_exceptions=True)


@pytest.mark.usefixtures("slow_clock")
async def test_one_goes_on_for_each_answer_and_the_longest_wait_first() -> None:
    line = Line()
    for name in "abcd":
        await line.join(name)

    line.room.release()
    line.room.release()
    await line.went_on("ab")

    assert line.order == ["a", "b"]
    assert not line.room.is_empty()
    await line.empty()
    assert line.order == ["a", "b", "c", "d"]


@pytest.mark.usefixtures("slow_clock")
async def test_priority_goes_first_three_times_in_four() -> None:
    line = Line()
    for name in ("low", "low too"):
        await line.join(name)
    for number in range(8):
        await line.join(f"high {number}", priority=5)

    await line.empty()

    assert line.order.index("low") == 3
    assert line.order.index("low too") == 7


@pytest.mark.usefixtures("slow_clock")
async def test_who_has_to_come_back_keeps_the_place() -> None:
    line = Line()
    first = line.room.place(0)
    await line.join("later")

    returning = asyncio.create_task(line.room.wait(first, until=time.time() + PATIENCE_S))
    await asyncio.sleep(0)
    line.room.release()
    await returning

    assert line.order == []
    assert first.waited_s > 0
    await line.empty()


@pytest.mark.usefixtures("slow_clock")
async def test_who_leaves_takes_nobodys_turn() -> None:
    line = Line()
    for name in "abc":
        await line.join(name)

    line.tasks["a"].cancel()
    line.room.release()
    await line.went_on("b")

    assert line.order == ["b"]
    await line.empty()
    assert line.order == ["b", "c"]


@pytest.mark.usefixtures("slow_clock")
async def test_the_turn_of_who_leaves_as_it_comes_is_the_next_ones() -> None:
    line = Line()
    for name in "ab":
        await line.join(name)

    line.room.release()
    line.tasks["a"].cancel()
    await line.went_on("b")

    assert line.order == ["b"]
    await line.empty()


async def test_one_goes_on_when_a_worker_expects_room_though_no_answer_came() -> None:
    line = Line(busy=Busy(queued=1, wait_ms=1.0))
    for name in "abc":
        await line.join(name)

    await line.went_on("abc")

    assert line.order == ["a", "b", "c"]


async def test_no_more_wait_than_may_and_the_next_hears_when_these_will_be_done() -> None:
    line = Line(holds=2)
    for name in "ab":
        await line.join(name)

    with pytest.raises(ModelBusy) as refused:
        await line.room.wait(line.room.place(0), until=time.time() + PATIENCE_S)

    assert refused.value.retry_after_s == 2.0 * (3 + 2)  # three there, two here, two seconds each
    await line.empty()


async def test_nobody_waits_longer_than_until() -> None:
    line = Line()

    with pytest.raises(ModelBusy):
        await line.room.wait(line.room.place(0), until=time.time() + 0.01)

    assert line.room.is_empty()


# --- over the wire -----------------------------------------------------------------


async def call(client: httpx.AsyncClient, text: str) -> httpx.Response:
    return await client.post("/v1/scripted/echo", json={"text": text})


async def test_work_goes_to_the_worker_that_has_room(
    edge: Edge, nats: Client, nats_url: str
) -> None:
    await edge.announce(model="scripted")
    async with a_scripted_worker(nats_url, Limits(queue=1)) as full:
        full.gate.clear()
        taken = asyncio.create_task(ask(nats, "scripted", an_ask("taken")))
        await full.has_begun()
        async with (
            a_scripted_worker(nats_url) as other,
            edge.client() as client,
        ):
            responses = [await call(client, f"text {number}") for number in range(20)]

        assert [response.status_code for response in responses] == [200] * 20
        assert full.batches == [["taken"]]
        assert len(other.tokenized) == 20
        full.gate.set()
        assert isinstance(await taken, Answered)


async def test_with_all_full_requests_wait_in_the_edge_and_are_all_answered(
    edge: Edge, nats_url: str
) -> None:
    await edge.announce(model="scripted")
    async with (
        a_scripted_worker(nats_url, Limits(queue=2)) as one,
        a_scripted_worker(nats_url, Limits(queue=2)) as two,
        edge.client() as client,
    ):
        one.gate.clear()
        two.gate.clear()
        texts = [f"text {number}" for number in range(40)]
        async with asyncio.TaskGroup() as tasks:
            calls = [tasks.create_task(call(client, text)) for text in texts]
            await until(lambda: len(one.tokenized) == len(two.tokenized) == 2)
            one.gate.set()
            two.gate.set()

    assert [called.result().status_code for called in calls] == [200] * 40
    assert sorted(one.tokenized + two.tokenized) == sorted(texts)
    assert await edge.metered() == 40


async def test_a_full_worker_is_not_asked_again_and_again_by_all_who_wait(edge: Edge) -> None:
    asked, has_room = 0, asyncio.Event()

    async def answer(message: Msg, ask: Ask) -> None:
        nonlocal asked
        asked += 1
        await reply(message, answered(ask.input) if has_room.is_set() else FULL)

    await edge.serve(answer)
    async with edge.client() as client, asyncio.TaskGroup() as tasks:
        first = tasks.create_task(client.post("/v1/rogue/echo", json={"text": "first"}))
        await until(lambda: asked >= AT_ONCE)
        before, began = asked, time.monotonic()
        calls = [
            tasks.create_task(client.post("/v1/rogue/echo", json={"text": "more"}))
            for _ in range(50)
        ]
        await until(lambda: asked >= before + 2 * AT_ONCE)
        # one at a time goes on, when the worker expects to have room, and not all of them
        turns = (time.monotonic() - began) / 0.75 + 1
        assert asked - before <= AT_ONCE * turns
        has_room.set()

    assert {called.result().status_code for called in (first, *calls)} == {200}


@pytest.mark.parametrize(
    ("workers", "queued", "seconds"),
    [(1, 3, 10), (2, 3, 8), (4, 3, 7), (1, 1_000, edge.room.MOST_S), (0, 3, 10)],
)
async def test_retry_after_counts_all_workers_and_stays_bearable(
    workers: int, queued: int, seconds: float
) -> None:
    line = Line(
        holds=2, workers=workers, busy=Busy(queued=queued, wait_ms=1_000.0, each_ms=2_000.0)
    )
    await line.join("a")
    await line.join("b")

    with pytest.raises(ModelBusy) as full:
        await line.room.wait(line.room.place(0), until=time.time() + PATIENCE_S)

    assert full.value.retry_after_s == seconds
    await line.empty()


@pytest.mark.parametrize("holds", [0, 1])
async def test_retry_after_is_when_the_queue_will_be_done(
    nats: Client, nats_url: str, database_url: str, ledger: Connection, holds: int
) -> None:
    async def refuse(message: Msg, _: Ask) -> None:
        await reply(message, FULL)

    hasty = {"retry_s": 0.1, "max_waiting": holds}
    async with running(nats, nats_url, database_url, ledger, **hasty) as started:
        await started.serve(refuse)
        async with started.client() as client:
            response = await client.post("/v1/rogue/echo", json={"text": "hello"})

    assert response.status_code == 503
    assert response.json()["code"] == "model_busy"
    assert response.headers["retry-after"] == str(2 * (3 + holds))

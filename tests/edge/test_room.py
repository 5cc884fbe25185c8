"""Workers that are full: who waits, in which order, for how long, and where work goes instead."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

import httpx
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

import edge.room
from edge.errors import ModelBusy
from edge.incoming import Incoming
from edge.room import Room
from edge.workers import Workers
from events import broker
from events.ids import new_id
from events.inference import Answered, Ask, Busy, Chunk, Ended, Timing
from events.models import Limits
from events.usage import Quantities
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


class Asking(NamedTuple):
    ask: Callable[[str], Coroutine[None, None, Answered]]
    connection: Client


class Counted(Room):
    """Notes how many it let go on each time."""

    released: tuple[int, ...] = ()

    def release(self, places: int = 1, worker: str = "") -> None:
        self.released += (places,)
        super().release(places, worker)


class Line:
    """Requests that wait in a room, and the order in which they went on."""

    def __init__(self, *, holds: int = 100, busy: Busy = FULL, workers: int = 1) -> None:
        self.room = Counted("m", holds=holds, workers=lambda: workers)
        self.room.hear(busy)
        self.order: list[str] = []
        self.asked: dict[str, str] = {}  # which worker
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def join(self, name: str, priority: int = 0, *, refused: bool = False) -> None:
        async def wait() -> None:
            place = self.room.place(priority, until=time.time() + PATIENCE_S)
            self.asked[name] = await self.room.wait(place, refused=refused)
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
async def test_as_many_go_on_to_a_worker_as_it_has_room_for() -> None:
    line = Line()
    for name in "abcd":
        await line.join(name)

    line.room.release(3, "worker")
    line.room.release(0, "full")
    await line.went_on("abc")

    assert line.asked == dict.fromkeys("abc", "worker")
    await line.empty()
    assert line.asked["d"] == ""


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
    first = line.room.place(0, until=time.time() + PATIENCE_S)
    await line.join("later")

    returning = asyncio.create_task(line.room.wait(first))
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


async def test_while_none_is_refused_twice_as_many_go_on_each_time() -> None:
    line = Line(busy=Busy(queued=1, wait_ms=1.0))
    names = [f"{number}" for number in range(20)]
    for name in names:
        await line.join(name)

    await line.went_on(names)

    assert line.room.released == (1, 2, 4, 8, 16)


async def test_who_is_refused_puts_an_end_to_that() -> None:
    line = Line(busy=Busy(queued=1, wait_ms=100.0))
    for name in "abcdefgh":
        await line.join(name)

    await line.went_on("abc")
    await line.join("back", refused=True)
    await line.went_on("defgh")

    assert line.room.released == (1, 2, 1, 2, 4)
    await line.empty()


async def test_one_worker_that_refuses_says_nothing_of_the_others() -> None:
    line = Line(busy=Busy(queued=1, wait_ms=100.0))
    for name in "abcdefgh":
        await line.join(name)

    await line.went_on("abc")
    line.room.hear(Busy(queued=1, wait_ms=100.0))
    await line.went_on("defgh")

    assert line.room.released == (1, 2, 4, 8)


def test_the_worker_that_was_last_heard_to_be_idle_is_told_first_and_once() -> None:
    room = Room("m", holds=1, workers=lambda: 2)
    for worker in ("gone", "a", "b", "a"):
        room.hear_idle(worker)

    assert [room.idle() for _ in range(3)] == ["a", "b", ""]


async def test_no_more_wait_than_may_and_the_next_hears_when_these_will_be_done() -> None:
    line = Line(holds=2)
    for name in "ab":
        await line.join(name)

    with pytest.raises(ModelBusy) as refused:
        await line.room.wait(line.room.place(0, until=time.time() + PATIENCE_S))

    assert refused.value.retry_after_s == 2.0 * (3 + 2)  # three there, two here, two seconds each
    await line.empty()


async def test_nobody_waits_longer_than_until() -> None:
    line = Line()

    with pytest.raises(ModelBusy):
        await line.room.wait(line.room.place(0, until=time.time() + 0.01))

    assert line.room.is_empty()


async def test_whoever_waits_goes_on_when_a_stream_was_written_and_not_when_it_was_read() -> None:
    done, closed = [], []
    incoming = Incoming(
        Client(), new_id(), done=lambda: done.append(1), forget=lambda: closed.append(1)
    )

    incoming.hear(Chunk(0, b"{}", Quantities()), "reads")
    assert not done
    incoming.hear(Ended("stop", 1, Quantities(), Timing()), "worker")
    assert (done, closed) == ([1], [])
    incoming.close()
    assert (done, closed) == ([1], [1])


# --- over the wire -----------------------------------------------------------------


async def call(client: httpx.AsyncClient, text: str) -> httpx.Response:
    return await client.post("/v1/scripted/echo", json={"text": text})


async def announce_two(edge: Edge) -> None:
    """Tell the edge of two workers, whether they are there or not."""
    for _ in range(2):
        await edge.announce(model="scripted")


async def test_work_goes_to_the_worker_that_has_room(
    edge: Edge, nats: Client, nats_url: str
) -> None:
    await announce_two(edge)
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


async def test_nobody_is_sent_to_a_worker_that_runs_something_beside_an_idle_one(
    edge: Edge, nats_url: str
) -> None:
    await announce_two(edge)
    async with (
        a_scripted_worker(nats_url) as one,
        a_scripted_worker(nats_url) as two,
        edge.client() as client,
    ):
        await call(client, "first")  # at random; from then on it is known who is idle
        idle, other = (one, two) if one.tokenized else (two, one)
        other.gate.clear()
        responses = [await call(client, f"text {number}") for number in range(20)]

    assert [response.status_code for response in responses] == [200] * 20
    assert (len(idle.tokenized), other.tokenized) == (21, [])


async def test_who_knows_a_worker_that_has_left_asks_the_others(edge: Edge, nats_url: str) -> None:
    await announce_two(edge)
    async with edge.client() as client:
        async with a_scripted_worker(nats_url):
            await call(client, "first")
        async with a_scripted_worker(nats_url) as other:
            response = await call(client, "second")

    assert response.status_code == 200
    assert other.tokenized == ["second"]


@asynccontextmanager
async def asking(nats_url: str) -> AsyncIterator[Asking]:
    """What an edge is to workers, and nothing else of it."""
    connection = await broker.connect(nats_url, "edge")
    workers = Workers(
        connection,
        retry_s=PATIENCE_S,
        max_wait_s=PATIENCE_S,
        max_waiting=1_000,
        serving=lambda _: 1,
    )
    await workers.start()

    async def ask(text: str) -> Answered:
        return await workers.ask(
            "scripted", "echo", an_ask(text, deadline=time.time() + PATIENCE_S)
        )

    try:
        yield Asking(ask, connection)
    finally:
        await connection.close()


@pytest.mark.parametrize("by_the_clock", [True, False])
async def test_an_edge_to_which_no_answer_comes_has_its_turn_by_the_clock(
    nats: Client, nats_url: str, monkeypatch: pytest.MonkeyPatch, *, by_the_clock: bool
) -> None:
    """The control does without the clock: there, the edge that has all answers has all turns."""
    if not by_the_clock:
        monkeypatch.setattr(edge.room, "SOONEST_S", PATIENCE_S)
        monkeypatch.setattr(edge.room, "LATEST_S", PATIENCE_S)
    async with (
        a_scripted_worker(nats_url, Limits(queue=2)) as model,
        asking(nats_url) as many,
        asking(nats_url) as few,
        asyncio.TaskGroup() as tasks,
    ):
        model.gate.clear()
        model.token_s = 0.005
        flood = [tasks.create_task(many.ask(f"many {number}")) for number in range(300)]
        await until(lambda: len(model.tokenized) == 2)  # the worker is full
        one = tasks.create_task(few.ask("one"))
        await asyncio.sleep(0)
        await few.connection.flush()
        assert isinstance(await ask(nats, "scripted", an_ask("behind it")), Busy)

        model.gate.set()
        await until(lambda: one.done() or all(task.done() for task in flood))

        assert one.done() == by_the_clock
        one.cancel()


async def test_with_all_full_requests_wait_in_the_edge_and_are_all_answered(
    edge: Edge, nats_url: str
) -> None:
    await announce_two(edge)
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
        await until(lambda: asked)
        before, began = asked, time.monotonic()
        calls = [
            tasks.create_task(client.post("/v1/rogue/echo", json={"text": "more"}))
            for _ in range(50)
        ]
        await until(lambda: asked >= before + 3)
        # one at a time goes on, when the worker expects to have room, and not all of them
        turns = (time.monotonic() - began) / 0.75 + 1
        assert asked - before <= 2 * turns
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
        await line.room.wait(line.room.place(0, until=time.time() + PATIENCE_S))

    assert full.value.retry_after_s == seconds
    await line.empty()


@pytest.mark.parametrize(("bounds", "waiting"), [({"max_waiting": 0}, 3), ({"max_wait_s": 0.5}, 4)])
async def test_who_cannot_wait_hears_when_the_queue_will_be_done(
    nats: Client,
    nats_url: str,
    database_url: str,
    ledger: Connection,
    *,
    bounds: dict[str, float],
    waiting: int,
) -> None:
    async def refuse(message: Msg, _: Ask) -> None:
        await reply(message, FULL)

    async with running(nats, nats_url, database_url, ledger, **bounds) as started:
        await started.serve(refuse)
        async with started.client() as client:
            response = await client.post("/v1/rogue/echo", json={"text": "hello"})

    assert response.status_code == 503
    assert response.json()["code"] == "model_busy"
    assert response.headers["retry-after"] == str(2 * waiting)

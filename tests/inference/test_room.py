"""What a worker takes: enough to go on with, and no more than it can soon begin."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client
from nats.aio.msg import Msg

from events import inference
from events.inference import Answered, Busy
from events.models import Limits
from inference.pace import WORTH, Pace
from inference.room import HOLDS_S, Room
from tests.inference.scribe import a_desk
from tests.inference.scripted import Lined, Road, Wide, an_ask
from tests.inference.test_pipeline import a_road
from tests.inference.test_worker import a_scripted_worker
from tests.waiting import PATIENCE_S, until

TOKEN_S = 0.01  # a thread sleeps longer than it is told, never less
LONG = "\n".join("abcdefghijklmnopqrst")  # runs in parts
MOST = 4  # one after the other of such, that 40 ms are enough for


async def paced(road: Road) -> None:
    """Let it see how long its model takes for a token."""
    road.model.token_s = TOKEN_S
    for number in range(3):
        road.submit(f"{number}")
        await road.model.has_begun()
        await road.ended(f"{number}")
    await until(lambda: not road.pipeline.held)


async def fill(road: Road) -> int:
    """Submit requests of one token until it is busy; how many it took."""
    taken = 0
    while road.pipeline.busy() is None:
        assert taken < 100, "it takes all that comes"
        road.submit(f"more{taken}")
        taken += 1
        await until(lambda: all(job.prepared for job in road.pipeline.held))
    return taken


async def test_a_worker_takes_what_it_can_soon_begin_and_then_is_busy() -> None:
    async with a_road() as road:
        await paced(road)
        road.model.gate.clear()
        road.submit("running")
        await road.model.has_begun()

        waiting = await fill(road)

        assert 1 <= waiting <= MOST + 1
        busy = road.pipeline.busy()
        assert isinstance(busy, Busy)
        assert (busy.queued, busy.each_ms >= 1_000 * TOKEN_S) == (1 + waiting, True)


async def test_by_number_alone_it_takes_all_that_comes() -> None:
    """The control: without the bound of time the test above would find no end."""
    async with a_road(queue_ms=600_000) as road:
        await paced(road)
        road.model.gate.clear()
        road.submit(*map(str, range(3, 103)))

        assert road.pipeline.busy() is None


async def test_before_its_first_batch_it_takes_one_to_run_and_one_to_wait() -> None:
    async with a_road() as road:
        road.model.gate.clear()

        assert await fill(road) == 2
        busy = road.pipeline.busy()
        assert busy is not None
        assert busy.each_ms == 0  # not known


async def test_each_lane_has_one_to_go_on_with() -> None:
    async with a_road(Wide(), queue_ms=0) as road:
        road.model.gate.clear()
        road.submit("one")
        await road.model.has_begun()
        road.submit("two")
        await road.model.has_begun()

        assert await fill(road) == 2


async def test_a_request_of_many_rows_counts_as_what_it_is() -> None:
    async with a_road(Lined(), batch_tokens=2) as road:
        await paced(road)
        road.model.gate.clear()
        road.submit("running")
        await road.model.has_begun()
        road.submit(LONG)
        await until(lambda: all(job.prepared for job in road.pipeline.held))

        assert await fill(road) == 0  # it is enough by itself


async def test_what_runs_in_parts_keeps_nobody_out() -> None:
    """A part, and then a batch of the others': they are to be there for it."""
    async with a_road(Lined(), batch_tokens=2) as road:
        await paced(road)
        road.model.gate.clear()
        road.submit(LONG)
        await road.model.has_begun()
        others = await fill(road)
        road.model.gate.set()
        await until(lambda: not road.pipeline.held)

    assert others > MOST + 1
    assert road.order.index(LONG) > others // 2


async def test_a_batch_waits_for_no_company_that_would_be_refused() -> None:
    async with a_road(batch_wait_ms=1_000 * PATIENCE_S) as road:
        road.model.token_s = TOKEN_S
        road.submit("one", "two")
        await road.ended("one", "two")
        road.model.gate.clear()
        await fill(road)
        road.model.gate.set()

        await until(lambda: not road.pipeline.held, timeout_s=PATIENCE_S / 2)


async def test_room_comes_back_with_the_answers() -> None:
    async with a_road() as road:
        await paced(road)
        road.model.gate.clear()
        road.submit("running")
        await road.model.has_begun()
        await fill(road)

        road.model.gate.set()
        await until(lambda: not road.pipeline.held)

        assert road.pipeline.busy() is None


async def test_a_generator_is_busy_once_its_slots_are_taken_and_one_waits() -> None:
    async with a_desk(slots=3) as desk:
        desk.model.gate.clear()
        desk.submit("a b")
        await desk.model.has_begun()
        desk.submit("c d", sequences=2)
        await desk.tokenized("c d")
        assert desk.pipeline.busy() is None  # one for whichever slot comes free
        desk.submit("e f")
        await desk.tokenized("e f")

        busy = desk.pipeline.busy()

        assert busy is not None
        assert busy.queued == 3


@given(st.floats(0.001, 2.0), st.integers(1, 50))
def test_a_device_whose_batches_cost_much_by_themselves_gets_larger_ones(
    batch_s: float, batches: int
) -> None:
    limits, pace = Limits(queue_ms=50, batch_ms=10_000), Pace()
    for _ in range(batches):
        pace.ran(1, batch_s, tokens=1)  # of which nobody knows what the token costs

    enough_ms = pace.enough_ms(limits)

    assert enough_ms >= 50
    assert enough_ms >= 0.9 * min(WORTH * 1_000 * batch_s, 10_000)
    alone = pace.enough_ms(Limits(queue_ms=50, batch_tokens=1))
    assert alone == pytest.approx(max(50, 1_000 * batch_s))  # there are no larger ones


def test_a_device_with_quick_batches_keeps_to_the_bound_of_time() -> None:
    limits, pace = Limits(queue_ms=50), Pace()
    for _ in range(20):
        pace.ran(20, 0.1, tokens=400)
        pace.ran(1, 0.005, tokens=20)

    assert pace.enough_ms(limits) == 50


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), min_size=1))
def test_no_more_is_told_of_than_there_is_room(moments: list[tuple[int, int]]) -> None:
    room, coming = Room(), 0
    for free, come in moments:
        before, coming = coming, coming + room.tell(free, now=1.0)
        assert coming == max(before, free)
        for _ in range(come):
            room.took_one()
        coming = max(0, coming - come)


def test_what_nobody_came_for_is_told_of_again() -> None:
    room = Room()

    told = [room.tell(3, now=now) for now in (1.0, 1.0 + HOLDS_S / 2, 1.01 + HOLDS_S)]

    assert told == [3, 0, 3]


# --- over the wire -----------------------------------------------------------------


async def reply_of(client: Client, text: str, subject: str = "inference.scripted.echo") -> Msg:
    heard = await client.subscribe(inbox := client.new_inbox())
    await client.publish(subject, inference.encode(an_ask(text)), reply=inbox)
    return await heard.next_msg(30)


async def test_an_answer_says_how_many_may_come_and_where(client: Client, nats_url: str) -> None:
    async with a_scripted_worker(nats_url) as one, a_scripted_worker(nats_url) as other:
        first = await reply_of(client, "first")
        answer = inference.decode_reply(first.data)
        direct = inference.direct_subject(first.reply, "scripted", "echo")
        for number in range(20):
            await reply_of(client, f"{number}", direct)

    assert isinstance(answer, Answered)
    assert answer.room >= 1
    assert answer.idle
    assert sorted(len(model.tokenized) for model in (one, other)) == [0, 21]


async def test_the_answers_of_a_batch_share_what_room_there_is(
    client: Client, nats_url: str
) -> None:
    async with a_scripted_worker(nats_url, Limits(queue=8, queue_ms=600_000)) as model:
        await reply_of(client, "quick")
        await asyncio.sleep(2 * HOLDS_S)  # what that was told of is nobody's any more
        await model.has_begun()
        model.gate.clear()
        first = asyncio.create_task(reply_of(client, "first"))
        await model.has_begun()
        others = [asyncio.create_task(reply_of(client, f"{number}")) for number in range(4)]
        await until(lambda: len(model.tokenized) == 6)
        model.gate.set()
        answers = [inference.decode_reply((await task).data) for task in (first, *others)]

    rooms = [answer.room for answer in answers if isinstance(answer, Answered)]
    assert len(rooms) == 5
    assert 1 <= rooms[0] <= 8
    assert sum(rooms) <= 8 + rooms[0]
    assert [answer.idle for answer in answers if isinstance(answer, Answered)] == [
        False,
        *[True] * 4,
    ]

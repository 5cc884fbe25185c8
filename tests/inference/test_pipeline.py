"""From request to answer, around a model that the test holds by the hand."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import NoReturn

import pytest

from events.inference import Busy, Expired, Failed, Refused
from events.models import Limits
from events.tasks.echo import EchoResult
from inference.errors import DeviceLost
from inference.job import Ran
from inference.models.model import Prepared
from tests.inference.scripted import Lined, Road, Scripted, Wide
from tests.waiting import until

Open = Callable[..., AbstractAsyncContextManager[Road]]


@asynccontextmanager
async def a_road(model: Scripted | None = None, **limits: float) -> AsyncIterator[Road]:
    road = Road(Limits(**limits), model)  # type: ignore[arg-type]  # whole numbers are
    serving = asyncio.create_task(road.pipeline.serve())
    yield road
    road.model.gate.set()
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving


async def test_a_request_is_answered_with_its_quantities_and_its_times() -> None:
    async with a_road() as road:
        road.submit("anybody there")

        await road.ended("anybody there")

    answer = road.outcomes["anybody there"]
    assert isinstance(answer, Ran)
    assert answer.result == EchoResult(text="ANYBODY THERE")
    assert answer.quantities.input_characters == 13
    assert min(answer.timing.tokenize_ms, answer.timing.compute_ms) > 0
    assert not road.pipeline.held


async def test_what_arrives_while_the_device_is_busy_goes_together() -> None:
    async with a_road() as road:
        road.model.gate.clear()
        road.submit("first")
        await road.model.has_begun()
        road.submit("second", "third")
        road.submit("fourth")
        await road.tokenized("second", "third", "fourth")

        road.model.gate.set()
        await road.ended("fourth")

    assert road.model.batches == [["first"], ["second", "third", "fourth"]]


async def test_the_next_batch_is_tokenized_while_the_current_one_runs() -> None:
    async with a_road() as road:
        road.model.gate.clear()
        road.submit("current")
        await road.model.has_begun()
        road.submit("next")

        await road.tokenized("next")

        assert not road.outcomes


async def test_a_full_queue_says_so_and_has_room_again() -> None:
    async with a_road(queue=2) as road:
        road.model.gate.clear()
        road.submit("one")
        assert road.pipeline.busy() is None
        road.submit("two")

        busy = road.pipeline.busy()

        assert busy is not None
        assert busy.queued == 2
        assert busy.wait_ms > 0
        road.model.gate.set()
        await road.ended("one", "two")
        await until(lambda: not road.pipeline.held)
        assert road.pipeline.busy() is None


async def test_what_is_too_late_is_never_tokenized() -> None:
    async with a_road() as road:
        road.submit("late", deadline=road.time)
        road.submit("in time")

        await road.ended("late", "in time")

    assert road.outcomes["late"] == Expired()
    assert road.model.tokenized == ["in time"]


async def test_what_becomes_too_late_in_the_queue_is_never_run() -> None:
    async with a_road() as road:
        road.model.gate.clear()
        road.submit("slow")
        await road.model.has_begun()
        road.submit("patient")
        road.submit("hasty", deadline=road.time + 5)
        await road.tokenized("patient", "hasty")

        road.time += 5
        road.model.gate.set()
        await road.ended("slow", "patient", "hasty")

    assert road.outcomes["hasty"] == Expired()
    assert road.model.batches == [["slow"], ["patient"]]


async def test_higher_priority_overtakes_and_equals_keep_their_order() -> None:
    async with a_road(batch_tokens=1) as road:
        road.model.gate.clear()
        road.submit("running")
        await road.model.has_begun()
        road.submit("a", "b")
        road.submit("c", "d", priority=5)
        await road.tokenized("a", "b", "c", "d")

        road.model.gate.set()
        await road.ended("a", "b", "c", "d")

    assert road.order == ["running", "c", "d", "a", "b"]


async def test_endless_higher_priority_leaves_a_turn_in_four() -> None:
    async with a_road(batch_tokens=1) as road:
        road.model.gate.clear()
        road.submit("running")
        await road.model.has_begun()
        road.submit("patient", "second")
        high = [f"h{number}" for number in range(12)]
        road.submit(*high, priority=5)
        await road.tokenized("patient", "second", *high)

        road.model.gate.set()
        await road.ended("patient", "second", *high)

    assert road.order.index("patient") == 4
    assert road.order.index("second") == 8


async def test_a_batch_is_no_longer_than_batch_ms_is_expected_to_last() -> None:
    async with a_road(batch_ms=20) as road:
        road.model.token_s = 0.01  # a thread sleeps longer than it is told, never less
        road.submit("one two three four")
        await road.ended("one two three four")
        road.model.gate.clear()
        road.submit("running")
        await road.model.has_begun()
        texts = [f"number {number}" for number in range(6)]
        road.submit(*texts)
        await road.tokenized(*texts)

        road.model.token_s = 0.0
        road.model.gate.set()
        await road.ended(*texts)

    assert road.model.batches[2] == ["number 0"]


async def test_a_batch_with_room_waits_for_company() -> None:
    async with a_road(batch_tokens=4, batch_wait_ms=1_000) as road:
        road.submit("one two")
        await road.tokenized("one two")
        road.submit("three four")

        await road.ended("one two", "three four")

    assert road.model.batches == [["one two", "three four"]]


async def test_one_poisonous_input_does_not_fail_its_neighbours() -> None:
    async with a_road() as road:
        road.model.gate.clear()
        road.submit("running")
        await road.model.has_begun()
        road.submit("before", "poison", "after", "rude")
        await road.tokenized("before", "poison", "after")

        road.model.gate.set()
        await road.ended("before", "poison", "after", "rude")

    assert road.outcomes["poison"] == Failed()
    assert isinstance(road.outcomes["before"], Ran)
    assert isinstance(road.outcomes["after"], Ran)
    refused = road.outcomes["rude"]
    assert refused == Refused("rude", "Mind your manners.", 422, "text")
    assert road.model.batches.count(["poison"]) == 1


async def test_an_input_that_breaks_the_tokenizer_fails_alone() -> None:
    async with a_road() as road:
        road.submit("before", "broken", "after")

        await road.ended("before", "broken", "after")

    assert road.outcomes["broken"] == Failed()
    assert isinstance(road.outcomes["before"], Ran)
    assert isinstance(road.outcomes["after"], Ran)


async def test_what_is_cancelled_before_it_runs_never_does() -> None:
    async with a_road() as road:
        road.model.gate.clear()
        (running,) = road.submit("running")
        await road.model.has_begun()
        waiting, _ = road.submit("waiting", "neighbour")
        await road.tokenized("waiting", "neighbour")

        road.pipeline.cancel(waiting)
        road.pipeline.cancel(running)
        await road.ended("waiting")
        road.model.gate.set()
        await road.ended("running", "neighbour")

    assert road.outcomes["waiting"] == Expired()
    assert isinstance(road.outcomes["running"], Ran)
    assert road.model.batches == [["running"], ["neighbour"]]


async def test_a_cancel_leaves_the_company_that_waits_with_it() -> None:
    async with a_road(batch_wait_ms=100) as road:
        road.submit("first")  # until it is known how long one takes, not many are waited for
        await road.ended("first")
        cancelled, _ = road.submit("cancelled", "company")
        await road.tokenized("cancelled", "company")

        road.pipeline.cancel(cancelled)
        await road.ended("cancelled", "company")

    assert road.model.batches == [["first"], ["company"]]


async def test_a_short_request_overtakes_the_rest_of_one_with_many_rows() -> None:
    long = "one two\nthree four\nfive six\nseven eight\nnine ten"
    async with a_road(Lined(), batch_tokens=4) as road:
        road.model.gate.clear()
        road.submit(long)
        await road.model.has_begun()
        road.submit("short")
        await road.tokenized("short")

        road.model.gate.set()
        await road.ended("short", long)

    assert road.model.batches == [
        ["one two\nthree four"],
        ["short"],
        ["five six\nseven eight"],
        ["nine ten"],
    ]
    assert road.order == ["short", long]
    answer = road.outcomes[long]
    assert isinstance(answer, Ran)
    assert answer.result == EchoResult(text=long.upper())


async def test_what_is_left_of_a_long_request_shares_its_batch() -> None:
    async with a_road(Lined(), batch_tokens=3) as road:
        road.model.gate.clear()
        road.submit("a\nb\nc\nd")
        await road.model.has_begun()
        road.submit("x", "y")
        await road.tokenized("x", "y")

        road.model.gate.set()
        await road.ended("a\nb\nc\nd", "x", "y")

    assert road.model.batches == [["a\nb\nc"], ["x", "y", "d"]]


async def test_a_request_whose_part_fails_has_failed_once_and_the_rest_never_runs() -> None:
    text = "a\nb\npoison\nc\nd\ne"
    async with a_road(Lined(), batch_tokens=2) as road:
        road.submit(text)
        await road.ended(text)
        road.submit("after")
        await road.ended("after")

    assert road.outcomes[text] == Failed()
    assert road.model.batches == [["a\nb"], ["poison\nc"], ["after"]]


async def test_a_cancel_stops_what_has_not_run_of_a_request() -> None:
    async with a_road(Lined(), batch_tokens=2) as road:
        road.model.gate.clear()
        (request_id,) = road.submit("a\nb\nc\nd")
        await road.model.has_begun()

        road.pipeline.cancel(request_id)
        await road.ended("a\nb\nc\nd")
        road.model.gate.set()
        road.submit("after")
        await road.ended("after")

    assert road.outcomes["a\nb\nc\nd"] == Expired()
    assert road.model.batches == [["a\nb"], ["after"]]


async def test_a_drain_out_of_time_sends_away_what_has_run_in_part() -> None:
    async with a_road(Lined(), batch_tokens=2) as road:
        road.model.gate.clear()
        road.submit("a\nb\nc\nd")
        await road.model.has_begun()

        await road.pipeline.drain(within_s=0.01)

        assert road.outcomes == {"a\nb\nc\nd": Busy(queued=0, wait_ms=0.0)}
        assert not road.pipeline.held


async def test_the_time_of_all_parts_is_the_requests() -> None:
    async with a_road(Lined(), batch_tokens=1) as road:
        road.model.token_s = 0.005  # a thread sleeps longer than it is told, never less
        road.submit("a\nb\nc")
        await road.ended("a\nb\nc")

    answer = road.outcomes["a\nb\nc"]
    assert isinstance(answer, Ran)
    assert answer.quantities.device_ms >= 15
    assert answer.timing.compute_ms >= 15


async def test_two_lanes_share_what_waits_and_run_side_by_side() -> None:
    model = Wide()
    async with a_road(model) as road:
        model.gate.clear()
        road.submit("long long long long")
        await model.has_begun()
        road.submit("a", "b", "c", "d")
        await model.has_begun()  # beside the first
        road.submit("e", "f")
        await road.tokenized("e", "f")
        assert model.batches == [["long long long long"], ["a", "b", "c", "d"]]

        model.gate.set()
        await road.ended("e", "f")
        await until(lambda: not road.pipeline.held)
        model.gate.clear()
        road.submit("u", "v", "w", "x")
        await model.has_begun()
        await model.has_begun()

    assert sorted(model.batches[-2:]) == [["u", "v"], ["w", "x"]]  # two threads, in any order
    assert len(model.threads) == 2


async def test_a_drain_waits_for_what_was_taken() -> None:
    async with a_road() as road:
        road.submit("one", "two")

        await road.pipeline.drain(within_s=10)

        assert all(isinstance(outcome, Ran) for outcome in road.outcomes.values())
        assert road.outcomes.keys() == {"one", "two"}


async def test_a_drain_out_of_time_sends_away_what_has_not_begun() -> None:
    async with a_road() as road:
        road.model.gate.clear()
        road.submit("begun")
        await road.model.has_begun()
        road.submit("waiting")
        await road.tokenized("waiting")

        await road.pipeline.drain(within_s=0.01)

        assert road.outcomes == {"waiting": Busy(queued=0, wait_ms=0.0)}
        road.model.gate.set()
        await road.ended("begun")
        assert isinstance(road.outcomes["begun"], Ran)
        assert ["waiting"] not in road.model.batches


async def test_a_worker_whose_device_is_lost_ends() -> None:
    road = Road(Limits(), Lost())
    serving = asyncio.create_task(road.pipeline.serve())
    road.submit("anybody there")

    with pytest.raises(BaseExceptionGroup) as ended:
        await serving

    assert ended.group_contains(DeviceLost)
    assert not road.outcomes


class Lost(Scripted):
    """Its device does nothing more."""

    def run(self, task: str, prepared: Sequence[Prepared]) -> NoReturn:
        del task, prepared
        raise DeviceLost

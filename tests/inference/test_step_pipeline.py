"""Requests that join and leave between steps, around a generator that the test holds."""

import asyncio

import pytest

from events.inference import WINDOW, Busy, Ended, Expired, Failed, Refused
from events.tasks.generation import GenerationResult
from inference.job import Ran
from inference.models.model import Prepared
from tests.inference.scribe import LONG, a_desk
from tests.waiting import until


async def test_a_stream_comes_in_pieces_that_add_up_to_the_answer() -> None:
    async with a_desk() as desk:
        desk.submit("one two three", stream=True)
        await desk.ended("one two three")
        desk.submit("four five six")
        await desk.ended("four five six")

    assert [chunk.index for chunk in desk.chunks["one two three"]] == [0, 1, 2]
    assert desk.text("one two three") == "one two three"
    assert [chunk.quantities.output_tokens for chunk in desk.chunks["one two three"]] == [1, 2, 3]
    end = desk.outcomes["one two three"]
    assert isinstance(end, Ended)
    assert (end.reason, end.chunks, end.quantities.output_tokens) == ("stop", 3, 3)
    whole = desk.outcomes["four five six"]
    assert isinstance(whole, Ran)
    assert isinstance(whole.result, GenerationResult)
    assert whole.result.generated_text == "four five six"
    assert whole.quantities.output_tokens == 3
    assert "four five six" not in desk.chunks
    assert not desk.pipeline.held


async def test_one_joins_in_mid_flight_and_another_leaves() -> None:
    async with a_desk() as desk:
        desk.model.gate.clear()
        desk.submit("a b c d")
        await desk.model.has_begun()
        desk.submit("x y")
        await desk.tokenized("x y")

        desk.model.gate.set()
        await desk.ended("a b c d", "x y")

    both = ["a b c d", "x y"]
    assert desk.model.steps == [["a b c d"], both, both, ["a b c d"]]
    assert desk.order == ["x y", "a b c d"]


async def test_no_more_run_than_there_are_slots_and_the_next_gets_a_free_one_at_once() -> None:
    async with a_desk(slots=2) as desk:
        desk.model.gate.clear()
        desk.submit("a b")
        desk.submit("c d e")
        desk.submit("f")
        await desk.model.has_begun()
        await desk.tokenized("a b", "c d e", "f")

        desk.model.gate.set()
        await desk.ended("a b", "c d e", "f")

    assert max(map(len, desk.model.steps)) == 2
    assert ["c d e", "f"] in desk.model.steps


async def test_who_wants_several_texts_waits_for_as_many_slots_and_nobody_overtakes() -> None:
    async with a_desk(slots=3) as desk:
        desk.model.gate.clear()
        desk.submit("a b c")
        await desk.model.has_begun()
        desk.submit("x y", sequences=2)
        desk.submit("u v w", sequences=2)
        desk.submit("z")
        await desk.tokenized("a b c", "x y", "u v w", "z")

        desk.model.gate.set()
        await desk.ended("x y", "u v w", "z")

    assert desk.model.steps == [
        ["a b c"],
        ["a b c", "x y"],
        ["a b c", "x y"],
        ["u v w", "z"],
        ["u v w"],
        ["u v w"],
    ]


async def test_who_waits_for_several_slots_and_leaves_keeps_nobody_waiting() -> None:
    async with a_desk(slots=2) as desk:
        desk.model.gate.clear()
        desk.submit("a b c")
        several = desk.submit("x y", sequences=2)
        desk.submit("z")
        await desk.model.has_begun()  # when it is the second's turn already

        desk.pipeline.cancel(several)
        desk.model.gate.set()
        await desk.ended("z")

    assert isinstance(desk.outcomes["x y"], Expired)
    assert not any("x y" in texts for texts in desk.model.steps)


async def test_higher_priority_joins_first_and_equals_keep_their_order() -> None:
    async with a_desk(slots=1) as desk:
        desk.model.gate.clear()
        desk.submit("running")
        await desk.model.has_begun()
        desk.submit("a")
        desk.submit("b")
        desk.submit("c", priority=5)
        desk.submit("d", priority=5)
        await desk.tokenized("a", "b", "c", "d")

        desk.model.gate.set()
        await desk.ended("a", "b", "c", "d")

    assert desk.order == ["running", "c", "d", "a", "b"]


async def test_what_is_too_late_never_joins_and_a_stream_that_began_goes_on() -> None:
    async with a_desk(slots=1) as desk:
        desk.model.gate.clear()
        desk.submit("a stream", stream=True, deadline=desk.time + 5)
        await desk.model.has_begun()
        desk.submit("hasty", stream=True, deadline=desk.time + 5)
        await desk.tokenized("hasty")

        desk.time += 5
        desk.model.gate.set()
        await desk.ended("a stream", "hasty")

    assert desk.outcomes["hasty"] == Expired()
    assert desk.text("a stream") == "a stream"
    assert ["hasty"] not in desk.model.steps


async def test_a_whole_answer_that_is_too_late_is_not_finished() -> None:
    async with a_desk(slots=1) as desk:
        desk.model.gate.clear()
        desk.submit("a b c d", deadline=desk.time + 5)
        await desk.model.has_begun()

        desk.time += 5
        desk.model.gate.set()
        await desk.ended("a b c d")

    assert isinstance(desk.outcomes["a b c d"], Expired)
    assert len(desk.model.steps) == 1


async def test_a_slow_reader_stops_its_own_stream_only_and_goes_on_where_it_was() -> None:
    async with a_desk() as desk:
        request_id = desk.submit(LONG, stream=True)
        await until(lambda: len(desk.chunks.get(LONG, ())) == WINDOW)

        desk.submit("others go on")
        await desk.ended("others go on")

        assert len(desk.chunks[LONG]) == WINDOW
        assert desk.model.steps[-1] == ["others go on"]
        for read in range(WINDOW, len(LONG.split()) + 1, WINDOW):
            desk.pipeline.read(request_id, read)
            await until(lambda: len(desk.chunks[LONG]) == min(read + WINDOW, len(LONG.split())))  # noqa: B023 - awaited here
        await desk.ended(LONG)

    assert desk.text(LONG) == LONG
    assert [chunk.index for chunk in desk.chunks[LONG]] == list(range(len(LONG.split())))


async def test_a_reader_that_claims_more_than_was_sent_gains_nothing() -> None:
    async with a_desk() as desk:
        request_id = desk.submit(LONG, stream=True)
        await until(lambda: len(desk.chunks.get(LONG, ())) == WINDOW)

        desk.pipeline.read(request_id, 1_000_000)

        await until(lambda: len(desk.chunks[LONG]) == 2 * WINDOW)
        await asyncio.sleep(0)
        assert LONG not in desk.outcomes


async def test_a_stream_that_nobody_reads_loses_its_slot() -> None:
    async with a_desk(slots=1, unread_s=0.05) as desk:
        desk.submit(LONG, stream=True)
        desk.submit("next in line")

        await desk.ended(LONG, "next in line")

    end = desk.outcomes[LONG]
    assert isinstance(end, Ended)
    assert (end.reason, end.chunks) == ("cancelled", WINDOW)
    assert isinstance(desk.outcomes["next in line"], Ran)


async def test_a_cancelled_stream_leaves_before_the_next_step_with_its_totals() -> None:
    async with a_desk(slots=1) as desk:
        desk.model.gate.clear()
        request_id = desk.submit(LONG, stream=True)
        desk.submit("next in line")
        await desk.model.has_begun()
        await desk.tokenized("next in line")

        desk.pipeline.cancel(request_id)
        desk.model.gate.set()
        await desk.ended(LONG, "next in line")

    end = desk.outcomes[LONG]
    assert isinstance(end, Ended)
    assert (end.reason, end.chunks, end.quantities.output_tokens) == ("cancelled", 1, 1)
    assert len(desk.chunks[LONG]) == 1
    assert desk.model.steps == [[LONG], *[["next in line"]] * 3]


async def test_a_paused_stream_can_be_cancelled() -> None:
    async with a_desk(slots=1) as desk:
        request_id = desk.submit(LONG, stream=True)
        await until(lambda: len(desk.chunks.get(LONG, ())) == WINDOW)

        desk.pipeline.cancel(request_id)
        await desk.ended(LONG)

    end = desk.outcomes[LONG]
    assert isinstance(end, Ended)
    assert end.quantities.output_tokens == WINDOW


async def test_a_cancelled_whole_answer_is_dropped() -> None:
    async with a_desk() as desk:
        desk.model.gate.clear()
        request_id = desk.submit("a b c d")
        await desk.model.has_begun()

        desk.pipeline.cancel(request_id)
        desk.model.gate.set()
        await desk.ended("a b c d")

    told = desk.outcomes["a b c d"]
    assert isinstance(told, Expired)
    assert (told.quantities.input_tokens, told.quantities.output_tokens) == (4, 1)
    assert len(desk.model.steps) == 1


async def test_what_is_cancelled_while_it_waits_never_runs() -> None:
    async with a_desk(slots=1) as desk:
        desk.model.gate.clear()
        desk.submit("running")
        await desk.model.has_begun()
        waiting = desk.submit("waiting", stream=True)
        await desk.tokenized("waiting")

        desk.pipeline.cancel(waiting)
        await desk.ended("waiting")
        desk.model.gate.set()
        await desk.ended("running")
        desk.submit("after")
        await desk.ended("after")

    assert desk.outcomes["waiting"] == Expired()
    assert desk.model.steps == [["running"], ["after"]]


async def test_a_cancel_that_comes_too_late_or_is_about_nobody_does_nothing() -> None:
    async with a_desk() as desk:
        request_id = desk.submit("quick")
        await desk.ended("quick")

        desk.pipeline.cancel(request_id)
        desk.pipeline.read(request_id, 3)
        desk.submit("after")
        await desk.ended("after")

    assert isinstance(desk.outcomes["quick"], Ran)


async def test_a_step_that_breaks_is_tried_for_each_alone_and_harms_no_other() -> None:
    async with a_desk() as desk:
        desk.model.gate.clear()
        desk.submit("one", stream=True)
        await desk.model.has_begun()
        for text in ("before it all", "some poison here", "a sour one", "after it all"):
            desk.submit(text, stream=True)
        desk.submit("rude")
        await desk.tokenized("before it all", "some poison here", "a sour one", "after it all")

        desk.model.gate.set()
        await desk.ended("before it all", "some poison here", "a sour one", "after it all", "rude")

    assert desk.outcomes["some poison here"] == desk.outcomes["a sour one"] == Failed()
    assert desk.text("some poison here") == "some "
    assert desk.text("before it all") == "before it all"
    assert desk.text("after it all") == "after it all"
    assert desk.outcomes["rude"] == Refused("rude", "Mind your manners.", 422, "text")
    assert not desk.pipeline.held


@pytest.mark.parametrize("fat", ["fat one", "a fat one"])  # before anything was written, and after
async def test_who_has_no_room_beside_others_waits_until_one_leaves(fat: str) -> None:
    async with a_desk(slots=3) as desk:
        desk.model.gate.clear()
        desk.submit("x y")
        desk.submit("u v w z")
        desk.submit(fat, stream=True)
        await desk.model.has_begun()
        desk.submit("late")
        await desk.tokenized("late")

        desk.model.gate.set()
        await desk.ended("x y", "u v w z", fat, "late")

    assert desk.text(fat) == fat
    assert isinstance(desk.outcomes[fat], Ended)
    assert all(isinstance(desk.outcomes[text], Ran) for text in ("x y", "u v w z", "late"))
    assert desk.model.wrote.index("y") < desk.model.wrote.index("fat")
    assert desk.model.wrote.index("fat") < desk.model.wrote.index("late")  # which came last


async def test_several_who_have_no_room_beside_each_other_go_on_one_after_the_other() -> None:
    texts = ["fat a", "fat b", "fat c", "fat d"]
    async with a_desk() as desk:
        desk.model.gate.clear()
        desk.submit("first")
        await desk.model.has_begun()
        for text in texts:
            desk.submit(text)
        await desk.tokenized(*texts)
        desk.model.gate.set()
        await desk.ended(*texts)

    assert all(isinstance(outcome, Ran) for outcome in desk.outcomes.values())


async def test_who_has_no_room_and_nobody_to_wait_for_is_refused() -> None:
    async with a_desk() as desk:
        held = [desk.model.join(Prepared(1, "held")) for _ in range(2)]  # by nobody in sight
        desk.submit("fat one")
        await desk.ended("fat one")
        del held

    refused = desk.outcomes["fat one"]
    assert isinstance(refused, Refused)
    assert (refused.code, refused.status) == ("input_too_large", 413)


async def test_the_time_of_the_steps_is_divided_among_those_in_them() -> None:
    async with a_desk() as desk:
        desk.model.gate.clear()
        desk.model.pause_s = 0.02
        desk.submit("a b c d e f")
        desk.submit("u v w x y z")
        await desk.tokenized("a b c d e f", "u v w x y z")

        desk.model.gate.set()
        await desk.ended("a b c d e f", "u v w x y z")

    one, other = desk.outcomes["a b c d e f"], desk.outcomes["u v w x y z"]
    assert isinstance(one, Ran)
    assert isinstance(other, Ran)
    together = one.quantities.device_ms + other.quantities.device_ms
    assert together >= 6 * 20 - 2  # each is cut to whole milliseconds
    assert one.timing.compute_ms > one.quantities.device_ms
    assert together <= one.timing.compute_ms + other.timing.compute_ms


async def test_a_drain_lets_streams_finish() -> None:
    async with a_desk() as desk:
        desk.submit("one two three", stream=True)
        desk.submit("four")

        await desk.pipeline.drain(within_s=10)

    assert desk.text("one two three") == "one two three"
    assert isinstance(desk.outcomes["four"], Ran)


async def test_a_drain_out_of_time_ends_what_runs_and_sends_the_rest_away() -> None:
    async with a_desk(slots=2) as desk:
        desk.submit(LONG, stream=True)
        await until(lambda: len(desk.chunks.get(LONG, ())) == WINDOW)
        desk.model.gate.clear()
        desk.submit("whole answer")
        await desk.tokenized("whole answer")
        await until(lambda: ["whole answer"] in desk.model.steps)
        desk.submit("waiting")
        await desk.tokenized("waiting")

        draining = asyncio.create_task(desk.pipeline.drain(within_s=0.01))
        await desk.ended("waiting")
        desk.model.gate.set()
        await draining

    assert desk.outcomes["waiting"] == Busy(queued=0, wait_ms=0.0)
    end = desk.outcomes[LONG]
    assert isinstance(end, Ended)
    assert (end.reason, end.chunks) == ("cancelled", WINDOW)
    assert isinstance(desk.outcomes["whole answer"], Expired)
    assert not desk.pipeline.held


async def test_a_full_queue_says_so() -> None:
    async with a_desk(slots=1) as desk:
        desk.model.gate.clear()
        desk.submit("running")
        await desk.model.has_begun()

        assert desk.pipeline.busy() is None
        for number in range(600):
            desk.submit(f"number {number}")

        busy = desk.pipeline.busy()
        assert busy is not None
        assert (busy.queued, busy.wait_ms > 0) == (601, True)
        desk.model.gate.set()
        await desk.ended("number 599")

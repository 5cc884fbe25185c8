"""What is set aside for streams: it grows, moves on, and comes back."""

import asyncio
import time

import pytest
from msgspec.structs import replace

from edge.admission import Admission, Reservation
from edge.auth import Caller
from edge.errors import BudgetExhausted, EdgeError, RateLimited, TooManyAtOnce
from events import counters
from events.plans import read_plans
from events.usage import Quantities
from tests.edge.admissions import Edges, a_caller, answer, ask, requests, words
from tests.waiting import until

BUDGET = 'prices = { output_words = "1.00" }\nmonthly_budget = "0.000100"'  # a hundred words
NOTHING = Quantities(requests=0)


def said(words: int, more: int = 0) -> Quantities:
    return Quantities(output_words=words, cost=1_000 * words, input_words=more)


async def reserve(edge: Admission, caller: Caller, most: Quantities = NOTHING) -> Reservation:
    return Reservation(edge, await ask(edge, caller, most))


async def renew(reservation: Reservation, caller: Caller) -> None:
    await reservation.renew(caller, "model", "task")


async def test_a_stream_is_covered_word_by_word_until_the_budget_is_spent(edges: Edges) -> None:
    edges.plan(more=BUDGET)
    edge, other, caller = await edges.start(), await edges.start(), a_caller()
    stream = await reserve(edge, caller)
    for words_so_far in range(1, 101):
        await stream.cover(said(words_so_far))
        if words_so_far % 10 == 0:
            await stream.settle(said(words_so_far))
    with pytest.raises(BudgetExhausted):
        await stream.cover(said(101))
    stream.end()

    with pytest.raises(BudgetExhausted):
        await ask(other, caller, said(1))


async def test_streams_of_two_edges_never_say_more_than_the_budget_together(edges: Edges) -> None:
    edges.plan(more=BUDGET)
    caller = a_caller()

    async def stream(edge: Admission) -> int:
        reservation = await reserve(edge, caller)
        delivered = 0
        try:
            while True:
                await reservation.cover(said(delivered + 3))
                delivered += 3
                if delivered % 9 == 0:
                    await reservation.settle(said(delivered))
        except BudgetExhausted:
            await reservation.settle(said(delivered))
        finally:
            reservation.end()
        return delivered

    streams = [stream(edge) for edge in [await edges.start(), await edges.start()] for _ in "abc"]
    delivered = await asyncio.gather(*streams)

    assert 85 <= sum(delivered) <= 100


async def test_what_was_covered_and_not_used_comes_back(edges: Edges) -> None:
    edges.plan(words(100), more=BUDGET)
    edge, caller = await edges.start(), a_caller()
    stream = await reserve(edge, caller)
    await stream.cover(said(90, more=90))
    await stream.settle(said(10, more=10))
    stream.end()

    async def is_free() -> bool:
        try:
            admitted = await ask(edge, caller, said(90, more=90))
        except EdgeError:
            return False
        await answer(admitted, said(90, more=90))
        return True

    await until(is_free)
    with pytest.raises(EdgeError):
        await ask(edge, caller, said(1, more=1))


async def test_what_was_counted_can_be_taken_back(edges: Edges) -> None:
    edges.plan(words(100), more=BUDGET)
    edge, caller = await edges.start(), a_caller()
    stream = await reserve(edge, caller)
    await stream.cover(said(100, more=100))
    await stream.settle(said(100, more=100))
    await stream.settle(NOTHING)
    stream.end()

    async def is_free() -> bool:
        try:
            await ask(edge, caller, said(100, more=100))
        except EdgeError:
            return False
        return True

    await until(is_free)


async def test_a_stream_keeps_its_slot_and_its_budget_for_longer_than_a_hold_lasts(
    edges: Edges, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counters, "BUCKET_S", 1)
    monkeypatch.setattr(counters, "SKEW_S", 0)
    edges.plan(more=f"concurrency = 1\n{BUDGET}")
    edge, other, caller = await edges.start(hold_s=0.5), await edges.start(hold_s=0.5), a_caller()
    stream = await reserve(edge, caller)
    await stream.cover(said(100))
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now)
    for _ in range(30):  # six seconds; a hold lasts for two and a half at most
        await renew(stream, caller)
        with pytest.raises(TooManyAtOnce):
            await ask(other, caller, said(1))
        now += 0.2
        await asyncio.sleep(0.1)  # who was refused is not asked for again at once
    await stream.settle(said(100))
    stream.end()

    async def is_spent() -> bool:
        try:
            await ask(other, caller, said(1))
        except EdgeError as error:
            return isinstance(error, BudgetExhausted)
        raise AssertionError("there was budget left")

    await until(is_spent)


async def test_control_what_is_not_renewed_is_somebody_elses(
    edges: Edges, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counters, "BUCKET_S", 1)
    monkeypatch.setattr(counters, "SKEW_S", 0)
    edges.plan(more="concurrency = 1")
    edge, other, caller = await edges.start(hold_s=0.5), await edges.start(hold_s=0.5), a_caller()
    await reserve(edge, caller)

    async def is_taken() -> bool:
        try:
            await ask(other, caller)
        except TooManyAtOnce:
            return False
        return True

    await until(is_taken)


async def test_a_budget_that_is_lowered_ends_a_stream_that_is_beyond_it(edges: Edges) -> None:
    edges.plan(more=BUDGET)
    edge, caller = await edges.start(), a_caller()
    stream = await reserve(edge, caller)
    await stream.cover(said(50))
    await stream.settle(said(40))
    lowered = Caller(replace(caller.account, own_budget=45_000), caller.key)

    with pytest.raises(BudgetExhausted):
        await renew(stream, lowered)
    stream.end()


async def test_a_plan_that_changes_counts_from_then_on(edges: Edges) -> None:
    edges.plan(words(1_000))
    edge, caller = await edges.start(), a_caller()
    stream = await reserve(edge, caller)
    await stream.cover(said(0, more=500))
    await stream.settle(said(0, more=500))
    edges.plan(words(600, "hour"), requests(5), more="concurrency = 2")
    edge._plans.plans = read_plans(edges.plans)  # noqa: SLF001 - what an edge does by the clock
    await renew(stream, caller)
    await stream.cover(said(0, more=1_100))

    with pytest.raises(RateLimited):
        await stream.cover(said(0, more=1_101))
    stream.end()


async def test_a_stream_goes_on_by_what_there_is_after_the_broker_was_away(edges: Edges) -> None:
    edges.plan(more=f"concurrency = 1\n{BUDGET}")
    edge, caller = await edges.start(), a_caller()
    stream = await reserve(edge, caller)
    await stream.cover(said(60))
    await stream.settle(said(20))
    edge._lose_all(0.0)  # noqa: SLF001 - as after a reconnect
    await renew(stream, caller)
    await stream.cover(said(60))
    await stream.settle(said(60))
    with pytest.raises(BudgetExhausted):
        await stream.cover(said(101))
    stream.end()

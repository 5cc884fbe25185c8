"""Events that no webhook brought are found in Stripe's list, whatever dies on the way."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Coroutine, Generator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import asyncpg
import pytest

from consumers.stripe.passes import Turns, keep_passing, take_turn
from consumers.stripe.poll import Poll
from events import streams, stripe
from ledger.db import Connection, create_pool
from ledger.stripe.api import Json, StripeApi
from ledger.stripe.passes import POLL, SWEEP, Pass, find_pass
from tests.consumers.pipeline import Pipeline
from tests.stripe.app import KEY
from tests.stripe.clock import Clock
from tests.stripe.running import StandIn, standing_in
from tests.waiting import until


@pytest.fixture
async def stand_in() -> AsyncIterator[StandIn]:
    async with standing_in() as running:
        yield running


@pytest.fixture
async def api(stand_in: StandIn) -> AsyncIterator[StripeApi]:
    opened = stand_in.api()
    yield opened
    await opened.close()


def some_events(stand_in: StandIn, count: int = 1) -> None:
    for number in range(count):
        stand_in.account.post("/v1/customers", name=f"customer {number}")


async def poll(pipeline: Pipeline, api: StripeApi, kind: type[Poll] = Poll) -> Pass | None:
    run = kind(api, pipeline.nats).run
    return await take_turn(POLL, run, pipeline.ledger, every_s=60)


async def journaled(pipeline: Pipeline) -> list[str]:
    rows = await pipeline.ledger.fetch("SELECT id FROM stripe_events ORDER BY id")
    return [row["id"] for row in rows]


def all_of(stand_in: StandIn) -> list[str]:
    return sorted(event.id for event in stand_in.account.journal.events)


async def test_a_dropped_webhook_is_found_within_one_cycle(
    pipeline: Pipeline, stand_in: StandIn
) -> None:
    some_events(stand_in, 3)
    settings = {"stripe_api_key": KEY, "stripe_api_base": stand_in.url}

    async with pipeline.consuming(**settings, stripe_poll_s=0.5):

        async def found() -> bool:
            return await journaled(pipeline) == all_of(stand_in)

        await until(found)
        some_events(stand_in, 2)
        await until(found)

    state = await find_pass(pipeline.ledger, POLL)
    assert state
    assert (state.failures, state.error) == (0, "")
    newest = stand_in.account.journal.events[-1]
    kept = await pipeline.ledger.fetchval(
        "SELECT payload FROM stripe_events WHERE id = $1", newest.id
    )
    assert json.loads(kept) == newest.json()


async def test_what_the_journal_has_is_left_alone(
    pipeline: Pipeline, stand_in: StandIn, api: StripeApi
) -> None:
    some_events(stand_in, 250)
    events = stand_in.account.journal.events
    for event in events[::2]:
        await pipeline.nats.jetstream().publish(stripe.subject(event.body), event.body)
    async with pipeline.consuming():
        await pipeline.until_settled(streams.STRIPE)

        first = await poll(pipeline, api)
        await pipeline.until_settled(streams.STRIPE)
        again = await poll(pipeline, api)

    assert first
    assert again
    assert (first.passed, first.found) == (250, 125)
    assert again.found == 0
    assert await journaled(pipeline) == all_of(stand_in)


async def test_the_cursor_passes_over_what_is_old(pipeline: Pipeline) -> None:
    async with standing_in(clock=Clock(int(time.time()) - 600)) as stand_in:
        api = stand_in.api()
        some_events(stand_in, 5)
        await poll(pipeline, api)
        stand_in.control.advance(600)
        some_events(stand_in, 2)
        second = await poll(pipeline, api)
        third = await poll(pipeline, api)
        await api.close()

    assert second
    assert third
    assert (second.passed, second.found) == (7, 7)  # the journal has not come up with the first
    assert third.passed == 2


async def test_an_event_of_another_age_does_not_take_the_cursor_along(
    pipeline: Pipeline, stand_in: StandIn, api: StripeApi
) -> None:
    """Beyond it nothing would ever be listed again."""
    some_events(stand_in, 2)
    stand_in.account.journal.add(
        "evt_lost", "customer.updated", 10**11, {"object": {"id": "cus_1", "object": "customer"}}
    )
    done = await poll(pipeline, api)

    assert done
    assert done.cursor
    assert done.cursor <= time.time()


async def test_an_event_that_is_too_large_for_the_stream_holds_up_nothing_else(
    pipeline: Pipeline, stand_in: StandIn, api: StripeApi
) -> None:
    some_events(stand_in)
    large = {"id": "cus_1", "object": "customer", "name": "x" * pipeline.nats.max_payload}
    now = int(time.time())
    stand_in.account.journal.add("evt_large", "customer.updated", now, {"object": large})
    some_events(stand_in)

    async with pipeline.consuming():
        assert await poll(pipeline, api)
        await pipeline.until_settled(streams.STRIPE)

    assert await journaled(pipeline) == [one for one in all_of(stand_in) if one != "evt_large"]


class Mortal(Awaitable[Any]):
    """Work that is killed at one of its steps: wherever it waits for somebody."""

    def __init__(self, work: Coroutine[Any, Any, Any], steps: int) -> None:
        self._work = work
        self._left = steps

    @property
    def died(self) -> bool:
        return self._left <= 0

    def __await__(self) -> Generator[Any, Any, Any]:
        steps = self._work.__await__()
        step = partial(next, steps)
        try:
            while True:
                waiting_for = step()
                self._left -= 1
                task = asyncio.current_task()
                if self._left == 0 and task:
                    task.cancel()
                try:
                    yield waiting_for
                    step = partial(next, steps)
                except BaseException as error:  # noqa: BLE001 - the work's to deal with
                    step = partial(steps.throw, error)
        except StopIteration as done:
            return done.value


class Hasty(Poll):
    """The control: its cursor moves before what it passes is written."""

    async def _publish(self, ledger: Connection, events: list[Json]) -> int:
        latest = max((event["created"] for event in events), default=0)
        await ledger.execute("UPDATE stripe_passes SET cursor = $1", latest + 3_600)
        return await super()._publish(ledger, events)


async def killed(pipeline: Pipeline, api: StripeApi, kind: type[Poll], steps: int) -> bool:
    """Poll as a process of its own would, and die at a step; False where it got through."""
    ledger = await asyncpg.connect(pipeline.database_url)
    run = kind(api, pipeline.nats).run
    mortal = Mortal(take_turn(POLL, run, ledger, every_s=60), steps)
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.ensure_future(_awaited(mortal))
    ledger.terminate()
    return mortal.died


async def _awaited(mortal: Mortal) -> None:
    await mortal


async def lost_by(pipeline: Pipeline, stand_in: StandIn, kind: type[Poll]) -> set[str]:
    """Kill polls at their first, second, ... step, each followed by one that lives."""
    jetstream = pipeline.nats.jetstream()
    api = stand_in.api()
    steps, dies = 1, True
    while dies:
        await pipeline.ledger.execute("TRUNCATE stripe_passes")
        await jetstream.purge_stream(streams.STRIPE)
        stand_in.account.journal.events.clear()
        some_events(stand_in, 2)
        dies = await killed(pipeline, api, kind, steps)
        assert await poll(pipeline, api, kind)
        if lost := set(all_of(stand_in)) - set(await taken_in(pipeline)):
            break
        steps += 1
    await api.close()
    assert lost or steps > 10
    return lost


async def taken_in(pipeline: Pipeline) -> list[str]:
    jetstream = pipeline.nats.jetstream()
    state = (await jetstream.stream_info(streams.STRIPE)).state
    return [
        stripe.decode((await jetstream.get_msg(streams.STRIPE, number)).data or b"").id
        for number in range(state.first_seq, state.last_seq + 1)
    ]


CONTROL = [(Poll, False), (Hasty, True)]


@pytest.mark.parametrize(("kind", "loses"), CONTROL)
async def test_a_poll_that_is_killed_between_any_two_steps_loses_nothing(
    pipeline: Pipeline, stand_in: StandIn, kind: type[Poll], *, loses: bool
) -> None:
    assert bool(await lost_by(pipeline, stand_in, kind)) == loses


async def test_one_that_is_killed_in_mid_list_goes_on_there(
    pipeline: Pipeline, stand_in: StandIn, api: StripeApi
) -> None:
    some_events(stand_in, 250)
    stand_in.control.fail(path="/v1/events", skip=1, status=500, times=3)

    assert await poll(pipeline, api) is None
    broken = await find_pass(pipeline.ledger, POLL)
    some_events(stand_in, 1)
    resumed = await poll(pipeline, api)
    async with pipeline.consuming():
        await pipeline.until_settled(streams.STRIPE)
        after = await poll(pipeline, api)
        await pipeline.until_settled(streams.STRIPE)

    assert broken
    assert resumed
    assert after
    assert (broken.passed, broken.cursor, broken.failures) == (100, None, 1)
    assert "StripeUnavailable" in broken.error
    assert (resumed.passed, resumed.found) == (250, 250)
    assert stand_in.requests("GET", "/v1/events") == 1 + 3 + 2 + 3
    assert after.found == 1
    assert await journaled(pipeline) == all_of(stand_in)


async def test_a_place_that_is_gone_is_not_gone_on_from(
    pipeline: Pipeline, stand_in: StandIn, api: StripeApi
) -> None:
    some_events(stand_in, 3)
    await poll(pipeline, api)
    await pipeline.ledger.execute("UPDATE stripe_passes SET after = 'evt_gone', newest = 1")

    done = await poll(pipeline, api)

    assert done
    assert done.after == ""
    assert done.cursor == stand_in.account.journal.events[-1].created


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        ({"status": 429, "retry_after": "0", "times": 4}, "rate limit"),
        ({"status": 500, "times": 3}, "unknown error"),
        ({"body": "<html>Bad Gateway</html>"}, "StripeUnavailable"),
        ({"body": "[]"}, "StripeUnavailable"),
        ({"body": "null"}, "StripeUnavailable"),
        ({"body": "{}"}, "StripeUnavailable"),
        ({"body": '{"data": [7], "has_more": true}'}, "StripeUnavailable"),
        ({"body": '{"data": [{"id": "evt_1"}], "has_more": false}'}, "none that has a time"),
        ({"body": '{"error": []}', "status": 400}, "StripeUnavailable"),
        ({"body": "nonsense", "status": 503, "times": 3}, "StripeUnavailable"),
        ({"cut": True, "times": 3}, "StripeUnavailable"),
        ({"status": 401}, "StripeKeyRefused"),
        ({"status": 403}, "StripeNotPermitted"),
    ],
)
async def test_a_bad_day_of_stripes_is_written_down_and_passes(
    pipeline: Pipeline,
    stand_in: StandIn,
    api: StripeApi,
    failure: dict[str, Any],
    said: str,
) -> None:
    some_events(stand_in, 2)
    stand_in.control.fail(**failure)

    assert await poll(pipeline, api) is None
    failed = await find_pass(pipeline.ledger, POLL)
    stand_in.control.mend()
    done = await poll(pipeline, api)
    mended = await find_pass(pipeline.ledger, POLL)

    assert failed
    assert done
    assert mended
    assert said in failed.error
    assert failed.due_in_s <= 60
    assert done.found == 2
    assert (mended.failures, mended.error) == (0, "")


async def test_one_that_hangs_is_given_up(
    pipeline: Pipeline, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ledger.stripe.api.TIMEOUT_S", 0.2)
    api = stand_in.api()
    some_events(stand_in)
    stand_in.control.fail(delay_s=600, times=3)

    assert await poll(pipeline, api) is None
    await api.close()
    monkeypatch.undo()
    api = stand_in.api()
    assert await poll(pipeline, api)
    await api.close()


async def test_failures_make_it_wait_longer_and_longer(
    pipeline: Pipeline, stand_in: StandIn, api: StripeApi
) -> None:
    stand_in.control.revoke(KEY)
    for wait_s in (60, 120, 240, 480, 900, 900):
        await poll(pipeline, api)
        state = await find_pass(pipeline.ledger, POLL)

        assert state
        assert state.began_at
        assert state.due_at - state.began_at >= timedelta(seconds=wait_s)
        assert state.due_in_s <= wait_s


async def test_a_key_that_is_revoked_and_given_back_is_used_again(
    pipeline: Pipeline, stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ledger.stripe.passes.LONGEST_S", 0.2)
    settings = {"stripe_api_key": KEY, "stripe_api_base": stand_in.url, "stripe_poll_s": 0.1}
    stand_in.control.revoke(KEY)
    some_events(stand_in)

    async with pipeline.consuming(**settings):

        async def refused() -> bool:
            state = await find_pass(pipeline.ledger, POLL)
            return state is not None and "StripeKeyRefused" in state.error

        await until(refused)
        stand_in.control.mend()

        async def found() -> bool:
            return await journaled(pipeline) == all_of(stand_in)

        await until(found)


async def test_only_one_of_several_processes_polls(
    pipeline: Pipeline, stand_in: StandIn, api: StripeApi
) -> None:
    some_events(stand_in)
    turns = (Turns(POLL, Poll(api, pipeline.nats).run, 3_600),)
    stop = asyncio.Event()

    async def finished() -> bool:
        state = await find_pass(pipeline.ledger, POLL)
        return state is not None and state.finished_at is not None

    async with create_pool(pipeline.database_url) as pool, asyncio.TaskGroup() as tasks:
        for _ in range(3):
            tasks.create_task(keep_passing(turns, pool, stop))
        await until(finished)
        stop.set()

    assert stand_in.requests("GET", "/v1/events") == 1


async def test_events_that_are_gone_are_said_to_be(
    pipeline: Pipeline, stand_in: StandIn, api: StripeApi
) -> None:
    some_events(stand_in)
    await poll(pipeline, api)
    long_ago = datetime.now(UTC) - timedelta(days=40)
    await pipeline.ledger.execute("UPDATE stripe_passes SET cursor = $1", int(long_ago.timestamp()))

    done = await poll(pipeline, api)
    sweep = await find_pass(pipeline.ledger, SWEEP)

    assert done
    assert done.note.startswith(f"events from {long_ago:%Y-%m-%d %H:%M} to ")
    assert done.note.endswith("are gone at Stripe")
    assert sweep
    assert sweep.due_in_s <= 0


async def test_an_event_that_is_parked_is_not_parked_at_each_poll(
    pipeline: Pipeline, stand_in: StandIn, api: StripeApi
) -> None:
    for name in ("a\0b", "a\ud800b"):
        stand_in.account.post("/v1/customers", name=name)

    async with pipeline.consuming():
        await poll(pipeline, api)
        await pipeline.until_settled(streams.STRIPE)
        again = await poll(pipeline, api)
        await pipeline.until_settled(streams.STRIPE)

    assert again
    assert again.found == 2
    assert len(await pipeline.parked()) == 2


async def test_without_a_key_nothing_is_asked_and_nothing_is_said(
    pipeline: Pipeline, stand_in: StandIn, capfd: pytest.CaptureFixture[str]
) -> None:
    async with pipeline.consuming(stripe_api_base=stand_in.url, stripe_poll_s=0.01):
        await pipeline.until_settled(streams.STRIPE)

    assert not stand_in.app.requests
    assert await find_pass(pipeline.ledger, POLL) is None
    assert "stripe_pass" not in capfd.readouterr().out

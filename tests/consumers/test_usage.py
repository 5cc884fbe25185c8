import asyncio
import time
from contextlib import suppress
from typing import Any
from uuid import UUID

import msgspec
import pytest
from nats.aio.client import Client

from deploy.local.nats import Nats
from events import broker, ending, streams, usage
from events.ids import new_id
from tests.consumers.pipeline import Pipeline, kill
from tests.link import linked
from tests.usage import a_usage, recorded, voided
from tests.waiting import PATIENCE_S, until


async def test_a_redelivered_usage_event_is_counted_once(pipeline: Pipeline) -> None:
    event = recorded(a_usage(input_tokens=7))

    async with pipeline.consuming():
        await pipeline.deliver(event, times=3)
        await pipeline.until_settled()

    assert await pipeline.requests() == 1
    assert await pipeline.ledger.fetchval("SELECT input_tokens FROM usage_totals") == 7


async def test_a_void_takes_back_what_was_recorded(pipeline: Pipeline) -> None:
    fact, other = a_usage(input_tokens=7), a_usage()

    async with pipeline.consuming():
        await pipeline.deliver(voided(fact), recorded(other), recorded(fact), times=2)
        await pipeline.until_settled()

    assert await pipeline.requests() == 1
    assert await pipeline.ledger.fetchval("SELECT sum(input_tokens)::int FROM usage_totals") == 0


def a_body(**changes: object) -> bytes:
    """A usage event of which something was changed on its way."""
    event = msgspec.to_builtins(recorded(a_usage()))
    event["data"] |= changes
    return msgspec.json.encode(event)


BAD = {
    "not JSON": b"{",
    "nothing": b"",
    "not UTF-8": b'{"id": "\xff"}',
    "too deep": b"[" * 100_000,
    "no event": b"{}",
    "negative": a_body(quantities={"input_tokens": -1}),
    "too large": a_body(quantities={"input_tokens": 2**63}),
    "too large a part": a_body(part=2**40),
    "an id without a time": a_body(request_id=str(UUID(int=4 << 76 | 2 << 62))),
    "an id after all dates": a_body(request_id=str(UUID(int=2**128 - 1 - (8 << 76) - (1 << 62)))),
    "NUL": a_body(model="a\0b"),
}


async def test_bad_events_are_parked_with_a_reason_and_their_neighbours_folded(
    pipeline: Pipeline,
) -> None:
    jetstream = pipeline.nats.jetstream()
    bodies = [*BAD.values(), *[usage.encode(recorded(a_usage())) for _ in range(20)]]
    bodies = bodies[::2] + bodies[1::2]  # neighbours on both sides
    for body in bodies:
        await jetstream.publish("usage.v1.a.b.c", body)

    async with pipeline.consuming():
        await pipeline.until_settled()

    assert await pipeline.requests() == 20
    parked = await pipeline.parked()
    assert sorted(message.data for message in parked) == sorted(BAD.values())
    for message in parked:
        assert message.subject == "parked.USAGE"
        assert message.headers
        assert message.headers["Tollgate-Reason"]
        assert message.headers["Tollgate-Subject"] == "usage.v1.a.b.c"
        sequence = int(message.headers["Tollgate-Stream-Sequence"])
        original = await jetstream.get_msg(streams.USAGE, sequence)
        assert (original.data or b"") == message.data


async def test_totals_that_overflow_park_the_event_that_would(pipeline: Pipeline) -> None:
    account_id = new_id()
    await pipeline.deliver(
        *[recorded(a_usage(account_id, input_tokens=2**63 - 1)) for _ in range(2)],
        *[recorded(a_usage(input_tokens=1)) for _ in range(5)],
    )

    async with pipeline.consuming():
        await pipeline.until_settled()

    assert await pipeline.requests() == 6
    assert len(await pipeline.parked()) == 1


async def test_without_room_to_park_the_good_go_on_and_the_bad_wait(pipeline: Pipeline) -> None:
    await pipeline.nats.jetstream().delete_stream(streams.PARKED)
    await pipeline.deliver(*[recorded(a_usage()) for _ in range(3)])
    await pipeline.publish("usage.v1.a.b.c", b"bad")
    await pipeline.deliver(*[recorded(a_usage()) for _ in range(3)])

    async def folded() -> bool:
        return await pipeline.requests() == 6

    async with pipeline.consuming():
        await until(folded)
        assert not await pipeline.settled()
        await streams.prepare(pipeline.nats, streams.Sizes())
        await pipeline.until_settled()

    assert [message.data for message in await pipeline.parked()] == [b"bad"]


async def test_two_processes_share_the_work_and_one_may_be_killed(pipeline: Pipeline) -> None:
    events = [recorded(a_usage()) for _ in range(3_000)]
    processes = [await pipeline.a_process() for _ in range(2)]

    async def begun() -> bool:
        return await pipeline.requests() > 0

    try:
        async with asyncio.TaskGroup() as tasks:
            for start in range(0, len(events), 500):
                tasks.create_task(pipeline.deliver(*events[start : start + 500]))
            await until(begun)
            await kill(processes[0])
        # what it had in its hands comes back after the ack wait: shorten it
        impatient = streams.usage_fold()
        impatient.ack_wait = 1.0
        await pipeline.nats.jetstream().add_consumer(streams.USAGE, impatient)
        await pipeline.until_settled()
    finally:
        for process in processes:
            if process.returncode is None:
                await kill(process)

    assert await pipeline.requests() == len(events)


async def test_nothing_is_lost_while_postgresql_is_away(pipeline: Pipeline) -> None:
    async with linked(pipeline.database_url) as (link, url):
        link.cut()
        async with pipeline.consuming(database_url=url):
            await pipeline.deliver(*[recorded(a_usage()) for _ in range(50)])

            async def tried() -> bool:
                consumer = await pipeline.nats.jetstream().consumer_info("USAGE", "usage_fold")
                return bool(consumer.num_redelivered)

            await until(tried)
            link.restore()
            await pipeline.until_settled()

    assert await pipeline.requests() == 50
    assert await pipeline.parked() == []


async def test_an_outage_is_no_hot_loop(pipeline: Pipeline) -> None:
    async with linked(pipeline.database_url) as (link, url):
        link.cut()
        async with pipeline.consuming(database_url=url):
            await pipeline.deliver(recorded(a_usage()))
            began = time.monotonic()
            await asyncio.sleep(3)  # a rate needs a duration
            consumer = await pipeline.nats.jetstream().consumer_info("USAGE", "usage_fold")
            assert consumer.delivered.consumer_seq < 2 + (time.monotonic() - began)


async def test_the_broker_may_be_killed_and_come_back(
    pipeline: Pipeline, nats_server: Nats
) -> None:
    before, after = [[recorded(a_usage()) for _ in range(200)] for _ in range(2)]
    await pipeline.deliver(*before)
    async with pipeline.consuming():
        await asyncio.to_thread(nats_server.kill)
        await asyncio.to_thread(nats_server.start)

        async def back() -> bool:
            return bool(pipeline.nats.is_connected)

        await until(back)
        await pipeline.deliver(*after)

        async def folded() -> bool:
            return await pipeline.requests() == 400

        await until(folded)


async def test_streams_that_are_made_later_are_found(pipeline: Pipeline) -> None:
    await pipeline.nats.jetstream().delete_stream(streams.USAGE)
    async with pipeline.consuming():
        await streams.prepare(pipeline.nats, streams.Sizes())
        await pipeline.deliver(recorded(a_usage()))

        async def folded() -> bool:
            return await pipeline.requests() == 1

        await until(folded)


async def test_a_stop_hands_back_what_was_not_begun(pipeline: Pipeline) -> None:
    await pipeline.deliver(*[recorded(a_usage()) for _ in range(50)])
    async with linked(pipeline.database_url) as (link, url):
        link.cut()
        async with pipeline.consuming(database_url=url, linger_s=5.0):

            async def taken() -> bool:
                consumer = await pipeline.nats.jetstream().consumer_info("USAGE", "usage_fold")
                return not consumer.num_pending

            await until(taken)

    async with pipeline.consuming():  # in less time than the ack wait
        async with asyncio.timeout(PATIENCE_S):
            await pipeline.until_settled()

    assert await pipeline.requests() == 50


@pytest.mark.parametrize("away", ["nats_url", "database_url"])
async def test_it_starts_and_stops_without_its_servers(pipeline: Pipeline, away: str) -> None:
    url = getattr(pipeline, away)
    async with linked(url) as (link, cut_url):
        link.cut()
        async with pipeline.consuming(**{away: cut_url}):
            await pipeline.deliver(recorded(a_usage()))
            link.restore()
            await pipeline.until_settled()
        link.cut()
        async with pipeline.consuming(**{away: cut_url}):
            pass

    assert await pipeline.requests() == 1


async def test_it_stops_although_it_has_just_connected(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then a cancellation may not be heard, and it works as if it had not been told to stop."""
    connect, connecting = broker.connect, asyncio.Event()

    async def unheard(*arguments: Any, **named: Any) -> Client:
        connecting.set()
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(PATIENCE_S)
        return await connect(*arguments, **named)

    monkeypatch.setattr(broker, "connect", unheard)
    monkeypatch.setattr(ending, "AGAIN_S", 0.5)
    async with pipeline.consuming():
        await connecting.wait()

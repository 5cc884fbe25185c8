import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from nats.aio.client import Client

from edge.errors import BrokerAway, MeterFull, NotMetered
from edge.metering import Meter
from events import broker, streams, usage
from events.streams import USAGE, Sizes
from events.usage import UsageEvent, UsageRecorded, UsageVoided
from tests.link import linked
from tests.usage import a_usage
from tests.waiting import PATIENCE_S, until


@asynccontextmanager
async def running(
    connection: Client, *, publish_timeout_s: float = PATIENCE_S, ack_timeout_s: float = PATIENCE_S
) -> AsyncIterator[Meter]:
    meter = Meter(connection, publish_timeout_s=publish_timeout_s, ack_timeout_s=ack_timeout_s)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(meter.run())
        try:
            yield meter
        finally:
            meter.close()


async def stored(nats: Client) -> list[UsageEvent]:
    """Everything in the stream, in its order."""
    jetstream = nats.jetstream()
    state = (await jetstream.stream_info(USAGE)).state
    numbers = range(state.first_seq, state.last_seq + 1)
    messages = [await jetstream.get_msg(USAGE, number) for number in numbers]
    return [usage.decode(message.data or b"") for message in messages]


async def recorded_at_last(meter: Meter) -> None:
    """Call again and again, as a caller who is told 503 does."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                await meter.record(a_usage())
            except NotMetered:
                continue
            return


@pytest.fixture
async def nats(nats: Client) -> Client:
    await streams.prepare(nats, Sizes())
    return nats


async def test_a_recorded_usage_is_durable_under_its_own_subject(nats: Client) -> None:
    fact = a_usage()

    async with running(nats) as meter:
        await meter.record(fact)

    (event,) = await stored(nats)
    assert isinstance(event, UsageRecorded)
    assert event.data == fact
    assert event.edge == usage.Numbered(epoch=meter.epoch, sequence=1)
    last = await nats.jetstream().get_last_msg(USAGE, f"usage.v1.{fact.account_id}.echo.echo")
    assert last.seq == 1


async def test_concurrent_usages_share_units_and_are_numbered_without_gaps(nats: Client) -> None:
    facts = [a_usage() for _ in range(2_500)]  # more than one batch holds

    async with running(nats) as meter:
        await asyncio.gather(*map(meter.record, facts))

    events = await stored(nats)
    assert [event.sequence for event in events] == list(range(1, 2_501))
    assert {event.data.request_id for event in events} == {fact.request_id for fact in facts}


async def test_a_usage_whose_acknowledgement_was_lost_is_stored_once_and_voided(
    nats: Client, nats_url: str
) -> None:
    async with linked(nats_url) as (link, url):
        behind = await broker.connect(url, "test")
        facts = [a_usage() for _ in range(3)]
        async with running(behind, publish_timeout_s=0.1, ack_timeout_s=1.0) as meter:
            await recorded_at_last(meter)
            link.swallow_replies()
            outcomes = await asyncio.gather(*map(meter.record, facts), return_exceptions=True)
            link.restore()
            await until(lambda: behind.is_connected)
            await recorded_at_last(meter)  # goes behind the unit whose fate was unknown
        await behind.close()

    assert [type(outcome) for outcome in outcomes] == [NotMetered] * 3
    events = await stored(nats)
    billed = {event.data.request_id for event in events if isinstance(event, UsageRecorded)}
    taken_back = {event.data.request_id for event in events if isinstance(event, UsageVoided)}
    assert len({event.id for event in events}) == len(events)
    assert sorted(event.sequence for event in events) == list(range(1, len(events) + 1))
    assert len(billed - taken_back) == 2
    assert taken_back <= {fact.request_id for fact in facts}


async def test_a_full_stream_refuses_and_leaves_no_gap(nats: Client) -> None:
    await streams.prepare(nats, Sizes(usage_bytes=1_500))  # two events and a bit
    jetstream = nats.jetstream()

    async with running(nats) as meter:
        await meter.record(a_usage())
        await meter.record(a_usage())
        with pytest.raises(MeterFull):
            await meter.record(a_usage())
        with pytest.raises(MeterFull):
            await asyncio.gather(*(meter.record(a_usage()) for _ in range(5)))
        await jetstream.purge_stream(USAGE)
        await meter.record(a_usage())

    assert [event.sequence for event in await stored(nats)] == [3]


async def test_a_batch_with_an_id_seen_before_is_sent_one_by_one(nats: Client) -> None:
    seen = a_usage()
    facts = [a_usage(), seen, a_usage()]

    async with running(nats) as meter:
        await meter.record(seen)
        await asyncio.gather(*map(meter.record, facts))

    ids = [event.data.request_id for event in await stored(nats)]
    assert sorted(ids) == sorted(fact.request_id for fact in facts)


async def test_a_usage_whose_caller_left_is_voided(nats: Client) -> None:
    fact = a_usage()

    async with running(nats) as meter:
        recording = asyncio.create_task(meter.record(fact))
        await asyncio.sleep(0)  # it is in the queue now
        while meter.unsettled:
            await asyncio.sleep(0)  # and now in a unit, on its way to the broker
        recording.cancel()

    events = await stored(nats)
    assert [type(event) for event in events if event.data == fact] == [UsageRecorded, UsageVoided]


async def test_a_broker_that_is_away_refuses_at_once_and_stores_nothing(
    nats: Client, nats_url: str
) -> None:
    async with linked(nats_url) as (link, url):
        behind = await broker.connect(url, "test")
        async with running(behind) as meter:
            link.cut()
            await until(lambda: not behind.is_connected)
            with pytest.raises(NotMetered):
                await meter.record(a_usage())
            link.restore()
            await until(lambda: behind.is_connected)
            await meter.record(a_usage())
        await behind.close()

    assert [event.sequence for event in await stored(nats)] == [1]


async def test_what_another_edge_stored_is_voided_for_a_caller_who_was_told_503(
    nats: Client, nats_url: str
) -> None:
    """Also if that gave up behind a unit of unknown fate, before its own was sent."""
    fact = a_usage()
    async with running(nats) as dead:
        await dead.record(fact)
    async with linked(nats_url) as (link, url):
        behind = await broker.connect(url, "test")
        async with running(behind, publish_timeout_s=0.1, ack_timeout_s=1.0) as meter:
            link.swallow_replies()
            before = asyncio.create_task(meter.record(a_usage()))
            await asyncio.sleep(0)
            while meter.unsettled:
                await asyncio.sleep(0)  # it is in a unit now, and the next waits behind it
            with pytest.raises(NotMetered):
                await meter.record(fact, again=True)
            link.restore()
            with pytest.raises(NotMetered):
                await before
        await behind.close()

    events = [event for event in await stored(nats) if event.data == fact]
    assert [type(event) for event in events] == [UsageRecorded, UsageVoided]


async def test_a_refused_repeat_is_sent_until_it_can_be_voided(nats: Client, nats_url: str) -> None:
    fact = a_usage()
    async with running(nats) as dead:
        await dead.record(fact)
    async with linked(nats_url) as (link, url):
        behind = await broker.connect(url, "test")
        async with running(behind) as meter:
            link.cut()
            await until(lambda: not behind.is_connected)
            with pytest.raises(NotMetered):
                await meter.record(fact, again=True)
            link.restore()
            await until(lambda: behind.is_connected)
        await behind.close()

    events = [event for event in await stored(nats) if event.data == fact]
    assert [type(event) for event in events] == [UsageRecorded, UsageVoided]


async def test_a_repeat_whose_caller_left_stays_for_who_goes_on_under_its_id(
    nats: Client,
) -> None:
    fact = a_usage()

    async with running(nats) as meter:
        recording = asyncio.create_task(meter.record(fact, again=True))
        await asyncio.sleep(0)
        while meter.unsettled:
            await asyncio.sleep(0)
        recording.cancel()
        await meter.record(fact, again=True)

    assert [type(event) for event in await stored(nats)] == [UsageRecorded]


async def test_an_edge_that_leaves_denies_nothing_that_another_may_have_stored(
    nats: Client,
) -> None:
    async with running(nats) as meter:
        meter.close()
        with pytest.raises(BrokerAway):
            await meter.record(a_usage(), again=True)
        with pytest.raises(NotMetered):
            await meter.record(a_usage())

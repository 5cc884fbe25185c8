"""Stripe's events on their way in: durable before they are answered for, and never lost."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import httpx
import pytest
from nats.aio.client import Client

from consumers.redelivery import REASON
from edge.errors import NotStored
from edge.stripe.intake import FEW, UNIT_BYTES, WAITING_BYTES, Intake
from events import broker, streams
from events.streams import STRIPE, Sizes
from ledger.db import Connection
from ledger.stripe.events import find_event
from tests.consumers.pipeline import Pipeline
from tests.edge.raw import connected, one_answer
from tests.edge.running import WEBHOOK_SECRET, Edge
from tests.edge.test_bad_input import MIB, signed
from tests.link import linked
from tests.waiting import PATIENCE_S, until


def an_event(number: int = 1, **fields: Any) -> bytes:
    event = {
        "id": f"evt_{number}",
        "type": "customer.updated",
        "created": int(time.time()),
        "data": {"object": {"id": "cus_1", "object": "customer"}},
    }
    return json.dumps(event | fields).encode()


def an_intake(connection: Client, ack_timeout_s: float = PATIENCE_S) -> Intake:
    return Intake(
        connection,
        secrets=WEBHOOK_SECRET,
        max_body_bytes=10 * MIB,
        patience_s=PATIENCE_S,
        ack_timeout_s=ack_timeout_s,
    )


async def take(intake: Intake, body: bytes) -> None:
    await intake.take(body, signed(body)["Stripe-Signature"])


@asynccontextmanager
async def running(
    connection: Client, *, ack_timeout_s: float = PATIENCE_S
) -> AsyncIterator[Intake]:
    intake = an_intake(connection, ack_timeout_s)
    task = asyncio.create_task(intake.run())
    try:
        yield intake
    finally:
        task.cancel()


async def stored(nats: Client) -> list[bytes]:
    jetstream = nats.jetstream()
    state = (await jetstream.stream_info(STRIPE)).state
    numbers = range(1, state.messages + 1)  # nothing is ever removed here
    return [(await jetstream.get_msg(STRIPE, number)).data or b"" for number in numbers]


@pytest.fixture
async def nats(nats: Client) -> Client:
    await streams.prepare(nats, Sizes())
    return nats


async def test_a_body_is_durable_as_it_came_under_its_type(nats: Client) -> None:
    body = an_event()

    async with running(nats) as intake:
        await take(intake, body)

    assert await stored(nats) == [body]
    assert (await nats.jetstream().get_last_msg(STRIPE, "stripe.customer.updated")).seq == 1


async def test_many_at_once_are_all_stored_and_repeats_are_taken(nats: Client) -> None:
    bodies = [an_event(number) for number in range(1_200)] * 2  # more than one batch holds

    async with running(nats) as intake:
        await asyncio.gather(*map(partial(take, intake), bodies))

    assert sorted(await stored(nats)) == sorted(bodies)


async def test_large_bodies_are_not_put_into_one_unit(nats: Client) -> None:
    size = UNIT_BYTES // (FEW + 2)
    bodies = [b"%d" % number + b" " * size for number in range(3 * FEW)]

    async with running(nats) as intake:
        await asyncio.gather(*map(partial(take, intake), bodies))

    assert sorted(await stored(nats)) == sorted(bodies)


@pytest.mark.parametrize("several", [3, FEW + 1])
async def test_what_is_not_known_to_be_stored_is_refused_and_what_comes_next_is_not(
    nats: Client, nats_url: str, several: int
) -> None:
    async with linked(nats_url) as (link, url):
        behind = await broker.connect(url, "test")
        async with running(behind, ack_timeout_s=1.0) as intake:
            link.swallow_replies()
            outcomes = await asyncio.gather(
                *(take(intake, an_event(number)) for number in range(several)),
                return_exceptions=True,
            )
            link.restore()
            await _stored_at_last(intake, b"again")
        await behind.close()

    assert [type(outcome) for outcome in outcomes] == [NotStored] * several
    assert b"again" in await stored(nats)


async def _stored_at_last(intake: Intake, body: bytes) -> None:
    """Send it again and again, as Stripe does."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            with suppress(NotStored):
                return await take(intake, body)


async def test_a_broker_that_is_away_refuses_at_once(nats_url: str, nats: Client) -> None:
    async with linked(nats_url) as (link, url):
        behind = await broker.connect(url, "test")
        async with running(behind) as intake:
            link.cut()
            await until(lambda: not behind.is_connected)
            for several in (1, 3, FEW + 1):
                bodies = [an_event(number) for number in range(several)]
                outcomes = await asyncio.gather(
                    *map(partial(take, intake), bodies), return_exceptions=True
                )
                assert [type(outcome) for outcome in outcomes] == [NotStored] * several
            link.restore()
            await until(lambda: behind.is_connected)
        await behind.close()

    assert await stored(nats) == []


@pytest.mark.parametrize("several", [5, FEW + 5])
async def test_a_full_stream_refuses_what_it_does_not_hold(nats: Client, several: int) -> None:
    await streams.prepare(nats, Sizes(stripe_bytes=1_000))  # two or three events

    async with running(nats) as intake:
        await take(intake, an_event())
        outcomes = await asyncio.gather(
            *(take(intake, an_event(number)) for number in range(several)), return_exceptions=True
        )

    refused = [outcome for outcome in outcomes if outcome is not None]
    assert refused
    assert {type(outcome) for outcome in refused} == {NotStored}
    assert len(await stored(nats)) == 1 + outcomes.count(None)


@pytest.mark.usefixtures("nats")
async def test_no_more_waits_than_there_is_room_for(nats_url: str) -> None:
    large = b" " * (MIB // 2)
    async with linked(nats_url) as (link, url):
        behind = await broker.connect(url, "test")
        intake = an_intake(behind)  # which nobody runs
        link.swallow_replies()
        waiting = [
            asyncio.create_task(take(intake, large)) for _ in range(WAITING_BYTES // len(large))
        ]
        await asyncio.sleep(0)

        with pytest.raises(NotStored, match="too many"):
            await take(intake, b"one more")

        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        link.restore()
        await take(intake, b"there is room again")
        await behind.close()


# --- what comes to the door -----------------------------------------------------------


async def _post(edge: Edge, body: bytes, headers: dict[Any, Any]) -> httpx.Response:
    async with edge.client() as client:
        return await client.post("/webhooks/stripe", content=body, headers=headers)


GOOD = an_event()
SIGNED = signed(GOOD)["Stripe-Signature"]
FORGED: dict[str, tuple[bytes, Any]] = {
    "nothing": (GOOD, {}),
    "empty": (GOOD, {"Stripe-Signature": ""}),
    "truncated signature": (GOOD, {"Stripe-Signature": SIGNED[:-2]}),
    "truncated body": (GOOD[:-1], {"Stripe-Signature": SIGNED}),
    "another secret": (GOOD, signed(GOOD, secret="whsec_forged")),
    "replayed": (GOOD, signed(GOOD, age_s=3_600)),
    "future": (GOOD, signed(GOOD, age_s=-3_600)),
    "far future": (GOOD, {"Stripe-Signature": f"t={'9' * 400},v1=00"}),
    "not ASCII": (GOOD, {b"Stripe-Signature": b"t=1,v1=\xff\xfe"}),
    "digits of another script": (GOOD, {b"Stripe-Signature": "t=١٢٣,v1=00".encode()}),
    "many": (GOOD, {"Stripe-Signature": SIGNED + ",v1=00" * 1_000}),
    "long": (GOOD, {"Stripe-Signature": "t=1,v1=" + "0" * 60_000}),
    "large body": (b" " * (10 * MIB - 1), {"Stripe-Signature": SIGNED}),
}


async def test_what_is_not_signed_by_stripe_is_refused_and_not_stored(
    edge: Edge, subtests: pytest.Subtests
) -> None:
    for name, (body, headers) in FORGED.items():
        with subtests.test(name):
            answer = await _post(edge, body, headers)
            assert (answer.status_code, answer.json()["code"]) == (400, "bad_signature")

    assert await stored(edge.nats) == []


UNREAD = [
    "nothing",
    "empty",
    "replayed",
    "future",
    "far future",
    "not ASCII",
    "digits of another script",
    "many",
]


async def test_a_body_is_not_read_before_its_signature_may_fit(
    edge: Edge, subtests: pytest.Subtests
) -> None:
    for name in UNREAD:
        with subtests.test(name):
            assert await _told_without_a_body(edge, FORGED[name][1]) == 400
    assert await _told_without_a_body(edge, signed(GOOD)) == 100  # control: go on


async def _told_without_a_body(edge: Edge, headers: dict[Any, Any]) -> int | None:
    """The status that is told to a caller who asks before it sends its body."""
    lines = httpx.Headers(headers).raw
    head = b"".join(b"%s: %s\r\n" % line for line in lines)
    async with connected(edge.port) as (reader, writer):
        writer.write(
            b"POST /webhooks/stripe HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
            b"Content-Length: %d\r\n%s\r\n" % (len(GOOD), head)
        )
        return (await one_answer(reader)).status


async def test_what_is_too_large_is_refused_before_it_is_looked_at(edge: Edge) -> None:
    body = b" " * (10 * MIB + 1)

    announced = await _post(edge, body, signed(body))
    assert (announced.status_code, announced.json()["code"]) == (413, "body_too_large")
    assert await _signature_of(edge, 10 * MIB) in range(400, 500)
    assert await stored(edge.nats) == []


async def _signature_of(edge: Edge, size: int) -> int:
    """The status that a signature of so many bytes gets."""
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
    head = b"POST /webhooks/stripe HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nStripe-Signature: "
    writer.write(head + b"0" * size + b"\r\n\r\n{}")
    async with asyncio.timeout(PATIENCE_S):
        status = (await reader.readline()).split()[1]
    writer.close()
    return int(status)


DEEP = b"[" * 100_000
PARKED: dict[str, bytes] = {
    "a list": b"[]",
    "nothing": b"{}",
    "null": b"null",
    "a number": b"7",
    "no JSON": b"{",
    "no UTF-8": b'{"id": "\xff"}',
    "deep": DEEP + b"]" * 100_000,
    "deep inside": an_event(2).replace(b'"cus_1"', DEEP + b"]" * 100_000),
    "no id": an_event(3).replace(b'"id": "evt_3", ', b""),
    "no type": an_event(4).replace(b'"type"', b'"kind"'),
    "no object": an_event(5, data={}),
    "object is a list": an_event(6, data={"object": []}),
    "created is a text": an_event(7, created="today"),
    "NUL": an_event(8, data={"object": {"id": "cus_\0", "object": "customer"}}),
}
JOURNALED: dict[str, bytes] = {
    "an unknown API version": an_event(20, api_version="2099-12-31.zinnia"),
    "an unknown type": an_event(21, type="teapot.boiled"),
    "an object without an id": an_event(22, data={"object": {"object": "balance"}}),
    "an object of nothing": an_event(23, data={"object": {}}),
    "a type that is no subject": an_event(24, type="a..b *>"),
    "an id that is a number": an_event(25, data={"object": {"id": 7, "object": "customer"}}),
}


async def test_what_stripe_signed_is_taken_whatever_it_is_and_parked_with_a_reason(
    edge: Edge, nats_url: str, database_url: str, ledger: Connection, subtests: pytest.Subtests
) -> None:
    pipeline = Pipeline(edge.nats, ledger, nats_url, database_url)
    async with pipeline.consuming():
        for name, body in (PARKED | JOURNALED).items():
            with subtests.test(name):
                assert (await _post(edge, body, signed(body))).status_code == 202
        await pipeline.until_settled(STRIPE)

    parked = await pipeline.parked()
    assert sorted(message.data for message in parked) == sorted(PARKED.values())
    assert all((message.headers or {}).get(REASON) for message in parked)
    for body in JOURNALED.values():
        assert await find_event(ledger, json.loads(body)["id"])

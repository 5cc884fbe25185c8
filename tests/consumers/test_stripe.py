import asyncio
import json
import secrets

from events import streams, stripe
from ledger.stripe.events import find_event
from ledger.stripe.objects import find_object
from tests.consumers.pipeline import Pipeline
from tests.waiting import PATIENCE_S


def a_body(
    name: str, *, created: int = 1_700_000_000, kind: str = "updated", **fields: str
) -> bytes:
    return json.dumps(
        {
            "id": name,
            "object": "event",
            "type": f"customer.{kind}",
            "created": created,
            "data": {"object": {"id": "cus_1", "object": "customer", **fields}},
        }
    ).encode()


async def deliver(pipeline: Pipeline, *bodies: bytes) -> None:
    jetstream = pipeline.nats.jetstream()
    for body in bodies:
        await jetstream.publish(stripe.subject(body), body)


async def test_a_duplicated_event_is_one_row_of_the_journal(pipeline: Pipeline) -> None:
    body = a_body("evt_1", email="ada@example.com")

    async with pipeline.consuming(stripe_workers=2):
        await deliver(pipeline, *[body] * 5)
        await pipeline.until_settled(streams.STRIPE)

    kept = await find_event(pipeline.ledger, "evt_1")
    mirrored = await find_object(pipeline.ledger, "cus_1")
    assert kept
    assert json.loads(kept.payload) == json.loads(body)
    assert mirrored
    assert json.loads(mirrored.object)["email"] == "ada@example.com"


async def test_an_update_that_comes_late_does_not_win(pipeline: Pipeline) -> None:
    async with pipeline.consuming(stripe_workers=2):
        await deliver(pipeline, a_body("evt_new", created=1_700_000_002))
        await pipeline.until_settled(streams.STRIPE)
        await deliver(pipeline, a_body("evt_old", created=1_700_000_001))
        await pipeline.until_settled(streams.STRIPE)

    mirrored = await find_object(pipeline.ledger, "cus_1")
    assert mirrored
    assert mirrored.event_id == "evt_new"
    assert await find_event(pipeline.ledger, "evt_old")


async def test_within_a_second_what_the_stream_took_later_wins(pipeline: Pipeline) -> None:
    await deliver(pipeline, *[a_body(f"evt_{n:02}") for n in reversed(range(30))])
    async with pipeline.consuming(stripe_workers=3):
        await pipeline.until_settled(streams.STRIPE)

    mirrored = await find_object(pipeline.ledger, "cus_1")
    assert mirrored
    assert mirrored.event_id == "evt_00"


async def test_signed_nonsense_is_parked_and_the_rest_journaled(pipeline: Pipeline) -> None:
    bad = [
        b"[]",
        b"null",
        b"{}",
        b"[" * 100_000,
        b'{"type": "\xff"}',
        a_body("evt_nul", email="a\0b"),
        a_body(secrets.token_hex(5_000)),
        a_body("evt_late", created=2**80),
        a_body("evt_huge", email="?").replace(b'"?"', b"1e200000"),
        a_body("evt_surrogate").replace(b"cus_1", rb"\ud800"),
    ]
    good = [a_body(f"evt_{n}") for n in range(10)]
    await deliver(pipeline, *good[:5], *bad, *good[5:])

    async with asyncio.timeout(PATIENCE_S), pipeline.consuming():
        await pipeline.until_settled(streams.STRIPE)

    assert sorted(message.data for message in await pipeline.parked()) == sorted(bad)
    assert await pipeline.ledger.fetchval("SELECT count(*) FROM stripe_events") == 10


async def test_what_is_of_another_mode_or_account_changes_nothing(pipeline: Pipeline) -> None:
    await deliver(pipeline, a_body("evt_1"))
    foreign = [
        a_body("evt_2", created=1_700_000_001, email="test")[:-1] + b', "livemode": false}',
        a_body("evt_3", created=1_700_000_002)[:-1] + b', "account": "acct_1"}',
    ]
    live = a_body("evt_4", created=1_700_000_003, email="live")[:-1] + b', "livemode": true}'
    await deliver(pipeline, *foreign, live)
    settings = {"stripe_poll_s": 0, "stripe_sweep_s": 0, "stripe_api_base": "http://127.0.0.1:1"}

    async with pipeline.consuming(stripe_api_key="rk_live_1", **settings):
        await pipeline.until_settled(streams.STRIPE)

    assert sorted(message.data for message in await pipeline.parked()) == foreign
    events = await pipeline.ledger.fetch("SELECT id FROM stripe_events ORDER BY id")
    assert [row["id"] for row in events] == ["evt_1", "evt_4"]


async def test_without_a_key_nobody_knows_which_mode_is_meant(pipeline: Pipeline) -> None:
    """The control: what is parked above is parked for its mode."""
    await deliver(pipeline, a_body("evt_2")[:-1] + b', "livemode": false}')

    async with pipeline.consuming():
        await pipeline.until_settled(streams.STRIPE)

    assert await find_event(pipeline.ledger, "evt_2")


async def test_an_object_of_an_unknown_type_is_kept(pipeline: Pipeline) -> None:
    body = a_body("evt_1").replace(b'"customer"', b'"teapot"').replace(b"customer.", b"teapot.")
    async with pipeline.consuming():
        await deliver(pipeline, body)
        await pipeline.until_settled(streams.STRIPE)

    mirrored = await find_object(pipeline.ledger, "cus_1")
    assert mirrored
    assert mirrored.type == "teapot"

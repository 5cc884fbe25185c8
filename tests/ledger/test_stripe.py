import asyncio
import json
import random
from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any

import asyncpg
import pytest

from events import stripe
from ledger.accounts import create_account
from ledger.db import Connection
from ledger.stripe.events import ReceivedEvent, find_event, journal
from ledger.stripe.objects import asking_at, find_object, fold_objects, store_objects

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def an_event(
    event: str,
    *,
    type: str = "customer.updated",  # noqa: A002 - Stripe's word
    second: int = 0,
    intake: int = 0,
    **fields: Any,
) -> ReceivedEvent:
    """An event of a second, that the stream took as its `intake`-th."""
    body = json.dumps(
        {
            "id": event,
            "type": type,
            "created": int(NOON.timestamp()) + second,
            "data": {"object": {"id": "cus_1", "object": "customer", "name": event, **fields}},
        }
    )
    return ReceivedEvent(
        event=stripe.decode(body.encode()),
        payload=body,
        received_at=NOON + timedelta(milliseconds=intake),
    )


async def deliver(ledger: Connection, *received: ReceivedEvent) -> None:
    async with ledger.transaction():
        await fold_objects(ledger, await journal(ledger, received))


def an_update(event: str, previous: dict[str, Any], **fields: Any) -> ReceivedEvent:
    """An event that says what it changed."""
    body = json.loads(an_event(event, **fields).payload)
    body["data"]["previous_attributes"] = previous
    text = json.dumps(body)
    return ReceivedEvent(event=stripe.decode(text.encode()), payload=text, received_at=NOON)


async def store(ledger: Connection, *objects: dict[str, Any]) -> None:
    async with ledger.transaction():
        await store_objects(ledger, objects, fetched_at=await asking_at(ledger))


async def test_an_event_is_kept_as_received_and_its_object_beside_it(ledger: Connection) -> None:
    event = an_event("evt_1", metadata={"n": 12345678901234567890})

    await deliver(ledger, event)

    kept = await find_event(ledger, "evt_1")
    mirrored = await find_object(ledger, "cus_1")
    assert kept
    assert json.loads(kept.payload) == json.loads(event.payload)
    assert mirrored
    assert json.loads(mirrored.object) == json.loads(event.payload)["data"]["object"]
    assert (mirrored.type, mirrored.customer, mirrored.event_id, mirrored.deleted) == (
        "customer",
        "cus_1",
        "evt_1",
        False,
    )


async def test_a_repeated_event_makes_one_row(ledger: Connection) -> None:
    event = an_event("evt_1")

    assert await journal(ledger, [event, event]) == ["evt_1"]
    assert await journal(ledger, [event]) == []

    assert await ledger.fetchval("SELECT count(*) FROM stripe_events") == 1


@pytest.mark.parametrize("together", [True, False])
async def test_the_newest_update_wins_in_any_order(ledger: Connection, *, together: bool) -> None:
    updates = [
        ("old", 0, 9),
        ("new", 1, 1),
        ("newer", 2, 2),
        ("newest", 2, 3),  # in the same second, taken later
    ]
    for order, shuffled in enumerate(permutations(updates)):
        events = [
            an_event(f"evt_{order}_{name}", id=f"cus_{order}", second=second, intake=intake)
            for name, second, intake in shuffled
        ]
        for batch in [events] if together else [[event] for event in events]:
            await deliver(ledger, *batch)

        mirrored = await find_object(ledger, f"cus_{order}")
        assert mirrored
        assert mirrored.event_id == f"evt_{order}_newest"


async def test_a_deletion_stays(ledger: Connection) -> None:
    facts = [("created", 0, 0), ("deleted", 1, 0), ("updated", 1, 5)]
    for order, shuffled in enumerate(permutations(facts)):
        for kind, second, intake in shuffled:
            event = an_event(
                f"evt_{order}_{kind}",
                type=f"customer.{kind}",
                id=f"cus_{order}",
                second=second,
                intake=intake,
            )
            await deliver(ledger, event)

        mirrored = await find_object(ledger, f"cus_{order}")
        assert mirrored
        assert mirrored.deleted
        assert mirrored.event_id == f"evt_{order}_deleted"


async def test_an_object_that_says_it_is_deleted_is(ledger: Connection) -> None:
    await deliver(ledger, an_event("evt_1", deleted=True))

    mirrored = await find_object(ledger, "cus_1")
    assert mirrored
    assert mirrored.deleted


@pytest.mark.parametrize(
    ("customer", "expected"), [("cus_9", "cus_9"), ({"id": "cus_9"}, "cus_9"), (None, None)]
)
async def test_an_object_knows_its_customer(
    ledger: Connection, customer: object, expected: str | None
) -> None:
    await deliver(ledger, an_event("evt_1", id="sub_1", object="subscription", customer=customer))

    mirrored = await find_object(ledger, "sub_1")
    assert mirrored
    assert mirrored.customer == expected


@pytest.mark.parametrize("fields", [{"id": None}, {"id": 7}, {"object": None}])
async def test_what_has_no_id_is_journaled_only(ledger: Connection, fields: dict[str, Any]) -> None:
    await deliver(ledger, an_event("evt_1", type="balance.available", **fields))

    assert await find_event(ledger, "evt_1")
    assert await ledger.fetchval("SELECT count(*) FROM stripe_objects") == 0


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE stripe_events SET type = 'x'",
        "DELETE FROM stripe_events",
        "TRUNCATE stripe_events",
    ],
)
async def test_the_journal_is_append_only(ledger: Connection, statement: str) -> None:
    await journal(ledger, [an_event("evt_1")])

    with pytest.raises(asyncpg.RaiseError, match="append only"):
        await ledger.execute(statement)


async def test_one_event_delivered_at_once_to_many_is_one_row(
    ledger: Connection, database_url: str
) -> None:
    events = [an_event(f"evt_{n}", id=f"cus_{n}") for n in range(50)]

    async def one(seed: int) -> int:
        connection = await asyncpg.connect(database_url)
        try:
            async with connection.transaction():
                new = await journal(connection, random.Random(seed).sample(events, len(events)))
                await fold_objects(connection, new)
        finally:
            await connection.close()
        return len(new)

    assert sum(await asyncio.gather(*map(one, range(8)))) == len(events)
    assert await ledger.fetchval("SELECT count(*) FROM stripe_objects") == len(events)


async def test_an_updates_own_words_order_it_within_a_second(ledger: Connection) -> None:
    await deliver(ledger, an_update("evt_2", {"name": "a"}, name="b"))
    await deliver(ledger, an_update("evt_1", {"name": ""}, name="a"))

    mirrored = await find_object(ledger, "cus_1")
    assert mirrored
    assert (mirrored.event_id, mirrored.settled) == ("evt_2", True)


async def test_what_nothing_decides_is_unsettled_until_something_newer_comes(
    ledger: Connection,
) -> None:
    await deliver(ledger, an_event("evt_1", name="a"))
    await deliver(ledger, an_event("evt_2", name="b", intake=1))
    doubtful = await find_object(ledger, "cus_1")
    await deliver(ledger, an_event("evt_3", name="c", second=1))
    settled = await find_object(ledger, "cus_1")

    assert doubtful
    assert (doubtful.event_id, doubtful.settled) == ("evt_2", False)
    assert settled
    assert (settled.event_id, settled.settled) == ("evt_3", True)


async def test_an_answer_that_nothing_exists_is_taken_back_by_a_later_one(
    ledger: Connection,
) -> None:
    there = {"id": "cus_1", "object": "customer", "name": "a"}
    await store(ledger, there)
    await store(ledger, {"id": "cus_1", "object": "customer", "deleted": True})
    gone = await find_object(ledger, "cus_1")
    await store(ledger, there)
    back = await find_object(ledger, "cus_1")

    assert gone
    assert gone.deleted
    assert json.loads(gone.object) == there  # as it was last seen
    assert back
    assert not back.deleted


async def test_no_answer_takes_back_a_deletion(ledger: Connection) -> None:
    await deliver(ledger, an_event("evt_1", type="customer.deleted"))

    await store(ledger, {"id": "cus_1", "object": "customer", "name": "a"})

    mirrored = await find_object(ledger, "cus_1")
    assert mirrored
    assert (mirrored.deleted, mirrored.event_id) == (True, "evt_1")


async def test_of_two_deletions_nothing_has_to_be_asked(ledger: Connection) -> None:
    await deliver(ledger, *[an_event(f"evt_{n}", type="customer.deleted") for n in range(2)])

    mirrored = await find_object(ledger, "cus_1")
    assert mirrored
    assert (mirrored.deleted, mirrored.settled) == (True, True)


async def test_a_customer_has_the_subscription_that_counts(ledger: Connection) -> None:
    account = await create_account(ledger, "Ada")
    await ledger.execute("UPDATE accounts SET stripe_customer = 'cus_1'")
    await create_account(ledger, "Bob")
    for name, status, created in [
        ("sub_ended", "canceled", 4),
        ("sub_old", "active", 1),
        ("sub_new", "past_due", 3),
        ("sub_never_paid", "incomplete", 5),
    ]:
        fields = {"object": "subscription", "customer": "cus_1"}
        await store(ledger, {**fields, "id": name, "status": status, "created": created})
    await store(ledger, {"id": "cus_1", "object": "customer", "name": "Ada"})

    rows = await ledger.fetch(
        "SELECT account_id, stripe_customer->>'name', stripe_subscription->>'status' FROM customers"
    )

    assert [tuple(row) for row in rows] == [(account.id, "Ada", "past_due")]


async def test_the_journal_rebuilds_the_objects(ledger: Connection) -> None:
    events = [an_event(f"evt_{n}", id=f"obj_{n % 7}", second=n % 11, intake=n) for n in range(200)]
    random.Random(1).shuffle(events)
    await deliver(ledger, *events[:100])
    await deliver(ledger, *events[100:])
    query = "SELECT id, event_id, stripe_created, deleted, object FROM stripe_objects ORDER BY id"
    before = await ledger.fetch(query)

    await ledger.execute("TRUNCATE stripe_objects")
    ids = [row["id"] for row in await ledger.fetch("SELECT id FROM stripe_events")]
    await fold_objects(ledger, ids)

    assert await ledger.fetch(query) == before

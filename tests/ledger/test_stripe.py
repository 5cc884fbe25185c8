import json
import random
from datetime import UTC, datetime, timedelta
from itertools import permutations
from typing import Any

import pytest

from events import stripe
from ledger.db import Connection
from ledger.stripe.events import ReceivedEvent, find_event, journal
from ledger.stripe.objects import find_object, fold_objects

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def an_event(
    name: str,
    *,
    type: str = "customer.updated",  # noqa: A002 - Stripe's word
    second: int = 0,
    intake: int = 0,
    **fields: Any,
) -> ReceivedEvent:
    """An event of a second, that the stream took as its `intake`-th."""
    body = json.dumps(
        {
            "id": name,
            "type": type,
            "created": int(NOON.timestamp()) + second,
            "data": {"object": {"id": "cus_1", "object": "customer", "name": name, **fields}},
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

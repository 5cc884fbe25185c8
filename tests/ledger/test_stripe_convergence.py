"""However news of Stripe's objects comes, the rows end as Stripe's objects are."""

import json
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from events import stripe
from ledger.db import Connection
from ledger.stripe.events import ReceivedEvent, journal
from ledger.stripe.fetch import FETCHED
from ledger.stripe.objects import (
    asking_at,
    find_object,
    fold_objects,
    list_unsettled,
    store_objects,
)

OBJECTS = 120
STEPS = 14  # of each object


class Stripe:
    """What is true of some objects, what was told of it, and what was not told yet."""

    def __init__(self, seed: int) -> None:
        self.chosen = random.Random(seed)
        self.skew = timedelta(seconds=self.chosen.uniform(-3, 3))  # of Stripe's clock to ours
        self.truth: dict[str, dict[str, Any]] = {}
        self.told: list[ReceivedEvent] = []

    def step(self, object_id: str, now: datetime) -> None:
        """Something happens, and is told of."""
        before = self.truth.get(object_id)
        if before and before.get("deleted"):
            return
        customer = {"id": object_id, "object": "customer", "name": "", "phone": None}
        state = dict(before or customer)
        kind, data = "created", {}
        if before and self.chosen.random() < 0.05:
            kind = "deleted"
            self.truth[object_id] = {"id": object_id, "object": "customer", "deleted": True}
        elif before:
            kind = self.chosen.choice(["updated", "updated", "updated", "touched"])
            field = self.chosen.choice(["name", "phone"])
            if kind == "updated":
                data = {"previous_attributes": {field: state[field]}}
            state[field] = self.chosen.choice(["a", "b", "c"])
            self.truth[object_id] = state
        else:
            self.truth[object_id] = state
        body = json.dumps(
            {
                "id": f"evt_{self.chosen.getrandbits(64):x}",
                "type": f"customer.{kind}",
                "created": int((now + self.skew).timestamp()),
                "data": {"object": state, **data},
            }
        )
        event = ReceivedEvent(event=stripe.decode(body.encode()), payload=body, received_at=now)
        self.told.append(event)

    def answer(self, object_ids: Sequence[str]) -> list[dict[str, Any]]:
        return [dict(self.truth[object_id]) for object_id in object_ids]


async def deliver(ledger: Connection, events: Sequence[ReceivedEvent]) -> None:
    received = [
        ReceivedEvent(event=one.event, payload=one.payload, received_at=datetime.now(UTC))
        for one in events
    ]
    async with ledger.transaction():
        await fold_objects(ledger, await journal(ledger, received))


async def settle(ledger: Connection, told: Stripe) -> int:
    asked = await asking_at(ledger)
    waiting = await list_unsettled(ledger, FETCHED, 1_000)
    async with ledger.transaction():
        await store_objects(ledger, told.answer([one.id for one in waiting]), fetched_at=asked)
    return len(waiting)


async def live(ledger: Connection, told: Stripe) -> None:
    """Deliver what happens: late, twice, out of order, and while Stripe is being asked."""
    chosen = told.chosen
    past = datetime.now(UTC) - timedelta(minutes=1)
    for object_id in [f"cus_{number}" for number in range(OBJECTS)]:
        now = past
        for _ in range(chosen.randrange(1, STEPS)):
            told.step(object_id, now)
            now += timedelta(seconds=chosen.choice([0, 0.3, 1, 2]))
    waiting = list(told.told)
    for _ in range(40):
        chosen.shuffle(waiting)
        asked, answers = await asking_at(ledger), told.answer(chosen.sample([*told.truth], 10))
        told.told.clear()
        for object_id in chosen.sample([*told.truth], 10):  # while asking
            told.step(object_id, datetime.now(UTC))
        waiting += told.told
        late = len(waiting) // 2
        batch, waiting = waiting[late:], waiting[:late]
        await deliver(ledger, batch)
        waiting += chosen.sample(batch, len(batch) // 10)  # once more, later
        async with ledger.transaction():
            await store_objects(ledger, answers, fetched_at=asked)
        if chosen.random() < 0.3:
            await settle(ledger, told)
    await deliver(ledger, waiting)


async def wrong(ledger: Connection, told: Stripe) -> list[str]:
    """The objects that are not what Stripe has."""
    found = []
    for object_id, truth in told.truth.items():
        row = await find_object(ledger, object_id)
        dead = truth.get("deleted", False)
        if not row or row.deleted != dead or (not dead and json.loads(row.object) != truth):
            found.append(object_id)
    return found


@pytest.mark.parametrize("seed", range(4))
async def test_the_ledger_ends_as_stripe_is(ledger: Connection, seed: int) -> None:
    told = Stripe(seed)
    await live(ledger, told)

    while await settle(ledger, told):
        pass

    assert await wrong(ledger, told) == []


async def test_without_asking_it_does_not_and_says_where(ledger: Connection) -> None:
    told = Stripe(1)
    await live(ledger, told)

    doubtful = {one.id for one in await list_unsettled(ledger, FETCHED, 1_000)}
    assert doubtful >= set(await wrong(ledger, told)) > set()

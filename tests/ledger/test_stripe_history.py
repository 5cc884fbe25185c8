"""What was so at a moment, and what the journal says of it all."""

import json
from datetime import timedelta

from ledger.accounts import create_account
from ledger.db import Connection
from ledger.plan_changes import find_terms
from ledger.stripe.history import find_object_at, list_object_events
from ledger.stripe.objects import find_object, list_unsettled
from ledger.stripe.rebuild import Rebuilt, rebuild
from tests.ledger.test_stripe import NOON, an_event, an_update, deliver, store


async def rebuilt(ledger: Connection, *, apply: bool = False) -> Rebuilt:
    counted: list[int] = []
    done = await rebuild(ledger, {}, apply=apply, progress=counted.append)
    assert sum(counted) == done.events
    return done


async def test_an_object_is_shown_as_it_was(ledger: Connection) -> None:
    await deliver(
        ledger,
        an_event("evt_3", type="customer.deleted", second=20, name="b"),
        an_update("evt_2", {"name": "a"}, name="b", second=10),
        an_event("evt_1", type="customer.created", second=10, name="a"),
    )

    moments = [
        await find_object_at(ledger, "cus_1", NOON + timedelta(seconds=at)) for at in (9, 10, 21)
    ]

    assert [one and (one.event_id, one.deleted, one.object["name"]) for one in moments] == [
        None,
        ("evt_2", False, "b"),
        ("evt_3", True, "b"),
    ]
    assert [(event.id, event.changed) for event in await list_object_events(ledger, "cus_1")] == [
        ("evt_3", []),
        ("evt_1", []),
        ("evt_2", ["name"]),
    ]


async def test_what_was_asked_of_stripe_is_the_present(ledger: Connection) -> None:
    await deliver(ledger, an_event("evt_1", name="a"))
    await store(ledger, {"id": "cus_1", "object": "customer", "name": "b"})
    row = await find_object(ledger, "cus_1")
    assert row

    now = await find_object_at(ledger, "cus_1", row.stripe_created)
    then = await find_object_at(ledger, "cus_1", NOON)

    assert now
    assert (now.object["name"], now.event_id) == ("b", None)
    assert then
    assert (then.object["name"], then.event_id) == ("a", "evt_1")


async def test_an_accounts_terms_are_shown_as_they_were(ledger: Connection) -> None:
    account = await create_account(ledger, "Ada")

    terms = await find_terms(ledger, account.id, account.created_at + timedelta(minutes=1))

    assert terms
    assert terms.plan == "default"


async def test_a_rebuilt_ledger_is_the_same(ledger: Connection) -> None:
    events = [an_event(f"evt_{n}", id=f"obj_{n % 7}", second=n % 11, intake=n) for n in range(200)]
    await deliver(ledger, *events)
    await store(ledger, {"id": "cus_asked", "object": "customer"})
    await store(ledger, {"id": "obj_1", "object": "customer", "name": "asked"})

    done = await rebuilt(ledger)

    assert done == Rebuilt(events=200, differences=[], unexplained=["cus_asked"])


async def test_a_rebuild_names_what_differs_and_mends_it_if_told(ledger: Connection) -> None:
    query = "SELECT * FROM stripe_objects ORDER BY id"
    for number in range(4):
        await deliver(ledger, an_event(f"evt_{number}", id=f"cus_{number}"))
    await deliver(ledger, an_event("evt_gone", type="customer.deleted", id="cus_3", second=1))
    before = await ledger.fetch(query)
    await ledger.execute("""UPDATE stripe_objects SET object = object || '{"name": "x"}'
        WHERE id = 'cus_0'""")
    await ledger.execute("DELETE FROM stripe_objects WHERE id = 'cus_1'")
    await ledger.execute("UPDATE stripe_objects SET deleted = false WHERE id = 'cus_3'")
    harmed = await ledger.fetch(query)

    found = await rebuilt(ledger)
    unchanged = await ledger.fetch(query)
    await rebuilt(ledger, apply=True)
    again = await rebuilt(ledger)
    after = await ledger.fetch(query)

    assert {one.id: one.what for one in found.differences} == {
        "cus_0": "different: name",
        "cus_1": "missing",
        "cus_3": "deleted, and kept as if not",
    }
    assert unchanged == harmed
    assert again.differences == []
    assert [(row["id"], row["deleted"], row["object"]) for row in after] == [
        (row["id"], row["deleted"], row["object"]) for row in before
    ]


async def test_a_rebuild_leaves_open_what_the_journal_leaves_open(ledger: Connection) -> None:
    await deliver(ledger, an_event("evt_1", name="a"), an_event("evt_2", name="b", intake=1))
    await ledger.execute('UPDATE stripe_objects SET object = object || \'{"name": "a"}\'')

    done = await rebuilt(ledger, apply=True)

    row = await find_object(ledger, "cus_1")
    assert done.differences == []
    assert row
    assert json.loads(row.object)["name"] == "a"
    assert [one.id for one in await list_unsettled(ledger, ["customer"], 9)] == ["cus_1"]

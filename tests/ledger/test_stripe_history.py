"""What was so at a moment, and what the journal says of it all."""

import json
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from ledger import _sql
from ledger.accounts import create_account
from ledger.db import Connection
from ledger.plan_changes import find_terms
from ledger.stripe import rebuild as rebuilding
from ledger.stripe.history import find_object_at, list_object_events
from ledger.stripe.objects import find_object, list_unsettled
from ledger.stripe.rebuild import Rebuilt, rebuild
from tests.ledger.stripe_history import a_customer, a_summary, at, take_in
from tests.ledger.stripe_history import an_event as an_event_of
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


async def _rebuild_with_traffic(
    ledger: Connection, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> dict[str, str]:
    """Mend a harmed ledger while each object changes; what each is called in the end."""
    names = [f"cus_{number}" for number in range(6)]
    summaries = [f"cus_{number}" for number in range(3)]
    await take_in(ledger, *[news(name, "old") for name in names], *map(summary, summaries))
    await ledger.execute("""UPDATE stripe_objects SET object = object || '{"name": "harmed"}'""")
    other = await asyncpg.connect(database_url)
    compare = vars(rebuilding)["_compare"]

    async def compare_and_hear(connection: Connection) -> Any:
        found = await compare(connection)
        for name in names:  # as consumers do: after the comparison, and before the swap
            await take_in(other, news(name, "new", created=at(-0.5)))
        for name in summaries:
            await take_in(other, summary(name, "new", created=at(-0.5)))
        return found

    async def go_on() -> None:
        for number in range(50):
            await take_in(other, news(f"cus_other_{number}", "new"))

    monkeypatch.setattr(rebuilding, "_compare", compare_and_hear)
    done = await rebuilt(ledger, apply=True)
    await go_on()
    monkeypatch.undo()
    await other.close()
    assert done.events >= len(names)
    rows = await ledger.fetch("SELECT id, object FROM stripe_objects WHERE id NOT LIKE '%other%'")
    return {row["id"]: str(json.loads(row["object"]).get("name")) for row in rows}


def news(customer: str, name: str, created: int | None = None) -> bytes:
    return an_event_of(a_customer(customer, name=name), created=created)


def summary(customer: str, name: str = "old", created: int | None = None) -> bytes:
    return an_event_of({**a_summary("pro", customer=customer), "name": name}, created=created)


async def test_what_comes_while_it_is_rebuilt_is_not_lost(
    ledger: Connection, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = await _rebuild_with_traffic(ledger, database_url, monkeypatch)

    assert len(names) == 9
    assert set(names.values()) == {"new"}


async def test_control_who_does_not_look_again_puts_the_old_in_the_place_of_the_new(
    ledger: Connection, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = "SELECT id FROM stripe_events WHERE $1::text IS NULL"
    sabotaged = {**_sql.load("stripe_rebuild.sql"), "object_event_ids": nothing}
    monkeypatch.setattr(rebuilding, "_SQL", sabotaged)

    names = await _rebuild_with_traffic(ledger, database_url, monkeypatch)

    assert "old" in names.values()

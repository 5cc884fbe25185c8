"""Which of two events of one second is the later one."""

from itertools import permutations
from typing import Any

import pytest

from ledger.stripe.order import Snapshot, last


def a_snapshot(
    event: str, *, previous: dict[str, Any] | None = None, kind: str = "updated", **fields: Any
) -> Snapshot:
    return Snapshot(
        event_id=event, type=f"customer.{kind}", object={"id": "cus_1", **fields}, previous=previous
    )


CREATED = a_snapshot("created", kind="created", name="a", phone=None)
RENAMED = a_snapshot("renamed", previous={"name": "a"}, name="b", phone=None)
CALLED = a_snapshot("called", previous={"phone": None}, name="b", phone="1")
BACK = a_snapshot("back", previous={"name": "b"}, name="a", phone=None)
PAID = a_snapshot("paid", kind="paid", name="c", phone=None)
TAGGED = a_snapshot("tagged", previous={"metadata": {"k": None}}, metadata={"k": "1"})
UNTAGGED = a_snapshot("untagged", previous={"metadata": {"k": "1"}}, metadata={})


@pytest.mark.parametrize(
    ("events", "winner"),
    [
        ([CREATED], "created"),
        ([CREATED, RENAMED], "renamed"),
        ([CREATED, PAID], "paid"),
        ([RENAMED, CALLED], "called"),
        ([CREATED, RENAMED, CALLED], "called"),
        ([RENAMED, BACK], None),  # there and back: which came first?
        ([RENAMED, PAID], None),  # what PAID changed it does not say
        ([RENAMED, CALLED, BACK], None),
        ([TAGGED, UNTAGGED], None),  # what was absent is told as null
    ],
)
def test_an_update_follows_what_it_changed(events: list[Snapshot], winner: str | None) -> None:
    for order in permutations(events):
        found, certain = last(order)

        assert certain == (winner is not None)
        assert found.event_id == (winner or found.event_id)


def test_what_says_the_same_needs_no_order() -> None:
    again = a_snapshot("again", kind="paid", name="b", phone=None)

    for order in permutations([RENAMED, again, CREATED]):
        found, certain = last(order)

        assert certain
        assert found.object == again.object


def test_where_nothing_decides_it_is_the_order_of_intake() -> None:
    assert last([PAID, RENAMED]) == (RENAMED, False)
    assert last([RENAMED, PAID]) == (PAID, False)

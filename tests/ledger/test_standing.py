import json
from datetime import timedelta
from typing import Any

import pytest

from ledger.errors import UnreadableObject
from ledger.stripe.standing import FOR_EVER, STATUSES, held_by, read_subscription
from tests.ledger.stripe_history import NOW, PLANS, a_subscription, at

BEFORE_IT_MOVED = {  # API versions before 2025-03-31 have the period on the subscription
    "items": {"data": [{"price": {"lookup_key": "pro_monthly"}}]},
    "current_period_start": at(-10),
    "current_period_end": at(20),
}
AT_PERIOD_END = {"cancel_at_period_end": True}
PAUSED = {"pause_collection": {"behavior": "void", "resumes_at": at(3)}}


Given = list[tuple[str, float | None]]  # plans, each with its days; None: for ever


def plans_of(fields: dict[str, Any], late_days: float | None = None) -> Given:
    """What a subscription gives, from `NOW` on."""
    since = None if late_days is None else NOW - timedelta(days=late_days)
    subscription = read_subscription(json.dumps(a_subscription("pro_monthly", **fields)))
    return [
        (held.plan, None if held.until == FOR_EVER else (held.until - NOW) / timedelta(days=1))
        for held in held_by(subscription, PLANS, past_due_since=since, now=NOW)
    ]


HAS_IT: Given = [("pro", None)]
ROWS: list[tuple[str, dict[str, Any], Given]] = [
    ("incomplete", {}, []),
    ("incomplete_expired", {}, []),
    ("trialing", {}, HAS_IT),
    ("active", {}, HAS_IT),
    ("past_due", {"late_days": 1}, [("pro", 6)]),
    ("past_due", {"late_days": 7}, []),
    ("past_due", {}, []),  # nobody knows since when: since the period began, ten days ago
    ("past_due", {"late_days": 1, "cancel_at": at(2)}, [("pro", 2)]),
    ("unpaid", {}, []),
    ("canceled", {}, []),
    ("canceled", AT_PERIOD_END, []),
    ("paused", {}, []),
    ("active", AT_PERIOD_END, [("pro", 20)]),
    ("active", {**BEFORE_IT_MOVED, **AT_PERIOD_END}, [("pro", 20)]),
    ("active", {"cancel_at": at(5)}, [("pro", 5)]),
    ("active", {"cancel_at": at(25), **AT_PERIOD_END}, [("pro", 20)]),
    ("active", {"cancel_at": at(-1)}, []),  # and the event that says so is late
    ("trialing", AT_PERIOD_END, [("pro", 20)]),
    ("active", PAUSED, HAS_IT),
    ("past_due", {"late_days": 1, **PAUSED}, [("pro", 6)]),
]


@pytest.mark.parametrize(("status", "fields", "given"), ROWS)
def test_what_a_status_gives(status: str, fields: dict[str, Any], given: Given) -> None:
    others = {name: value for name, value in fields.items() if name != "late_days"}

    assert plans_of({"status": status, **others}, fields.get("late_days")) == given


def test_every_status_has_a_row() -> None:
    assert {status for status, *_ in ROWS} == set(STATUSES)


def test_a_subscription_with_several_prices_gives_several_plans() -> None:
    subscription = read_subscription(
        json.dumps(a_subscription("scale_monthly", "other", "pro_yearly"))
    )

    held = list(held_by(subscription, PLANS, past_due_since=None, now=NOW))

    assert [one.plan for one in held] == ["pro", "scale"]
    assert max(held).plan == "scale"  # further down in the file


def test_a_time_that_nobody_knows_is_long_ago() -> None:
    items = {"data": [{"price": {"lookup_key": "pro_monthly"}}]}

    assert plans_of({"status": "past_due", "items": items}) == []


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "[]",
        json.dumps(a_subscription(status="cheerful")),
        json.dumps(a_subscription(items="many")),
        json.dumps(a_subscription(cancel_at="soon")),
    ],
)
def test_what_cannot_be_read_is_said(text: str) -> None:
    with pytest.raises(UnreadableObject):
        read_subscription(text)


def test_absurd_times_are_unreadable() -> None:
    with pytest.raises(UnreadableObject):
        read_subscription(json.dumps(a_subscription("pro_monthly", cancel_at=2**70)))

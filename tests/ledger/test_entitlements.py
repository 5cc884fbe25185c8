import asyncio
import itertools
import json
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import pytest

from consumers.stripe.plans import follow_due
from events import accounts
from events.accounts import Account, AccountChanged
from events.plans import Plan
from events.plans_file import PlansFile
from ledger import _sql
from ledger.accounts import change_account, create_account, find_account, list_accounts
from ledger.api_keys import create_key, find_keys
from ledger.db import Connection
from ledger.key_format import digest
from ledger.plan_changes import find_terms, list_changes, record_plans
from ledger.stripe import entitlements
from ledger.stripe.answers import take_customer
from ledger.stripe.entitlements import follow, list_due, list_linked
from ledger.stripe.objects import asking_at, store_objects
from tests.ledger.stripe_history import (
    NOW,
    PLANS,
    a_customer,
    a_subscription,
    a_summary,
    an_event,
    at,
    take_in,
)
from tests.waiting import until

SECRET = b"a secret of the server's"
BLOCKED = """
SELECT count(*) FROM pg_stat_activity WHERE pg_backend_pid() = ANY(pg_blocking_pids(pid))
"""  # by this session: the server has others, of its own


@pytest.fixture
async def ada(ledger: Connection) -> UUID:
    """An account that is cus_1 at Stripe."""
    account = await create_account(ledger, "Ada")
    await ledger.execute("UPDATE accounts SET stripe_customer = 'cus_1'")
    await ledger.execute("DELETE FROM outbox")
    return account.id


def _id_of(event: bytes) -> str:
    return str(json.loads(event)["id"])


async def plan_of(ledger: Connection, account_id: UUID) -> str:
    account = await find_account(ledger, account_id)
    assert account
    return account.plan


async def announced(ledger: Connection) -> list[Account]:
    rows = await ledger.fetch("SELECT payload FROM outbox ORDER BY id")
    messages = [accounts.decode(row["payload"]) for row in rows]
    return [one.account for one in messages if isinstance(one, AccountChanged)]


async def test_who_subscribes_has_the_plan_of_the_price(ledger: Connection, ada: UUID) -> None:
    body = an_event(a_subscription("pro_monthly"))

    changed = await take_in(ledger, body)
    again = await take_in(ledger, body)

    assert (list(changed), list(again)) == ([ada], [])
    (told,) = await announced(ledger)
    assert (told.plan, told.version) == ("pro", 1)
    (account,) = await list_accounts(ledger)
    assert (account.plan, account.operator_plan, account.stripe_plan) == ("pro", "default", "pro")
    key, plain = await create_key(ledger, ada, "", SECRET)
    found = await find_keys(ledger, [digest(plain, SECRET)])
    assert [one.account.plan for one in found.values()] == ["pro"]
    assert key.account_id == ada


async def test_who_no_longer_subscribes_has_the_operators_plan(
    ledger: Connection, ada: UUID
) -> None:
    await change_account(ledger, ada, {"plan": "free", "limits": {"day": 7}})
    await take_in(ledger, an_event(a_subscription("pro_monthly"), created=at(-3)))
    await change_account(ledger, ada, {"monthly_budget": 5})
    assert await plan_of(ledger, ada) == "pro"

    gone = an_event(a_subscription("pro_monthly", status="canceled"), kind="deleted")
    await take_in(ledger, gone)

    account = await find_account(ledger, ada)
    assert account
    assert (account.plan, account.limits, account.monthly_budget) == ("free", {"day": 7}, 5)


async def test_of_several_subscriptions_the_plan_furthest_down_counts(
    ledger: Connection, ada: UUID
) -> None:
    both = [
        an_event(a_subscription("scale_monthly", id="sub_2"), created=at(-2)),
        an_event(a_subscription("pro_monthly"), created=at(-2)),
    ]
    await take_in(ledger, *both)
    assert await plan_of(ledger, ada) == "scale"

    await take_in(ledger, an_event(a_subscription("scale_monthly", id="sub_2", status="unpaid")))

    assert await plan_of(ledger, ada) == "pro"


async def test_in_any_order_the_plan_ends_up_the_same(ledger: Connection) -> None:
    story = [
        an_event(a_subscription("pro_monthly", status="incomplete"), created=at(-9)),
        an_event(a_subscription("pro_monthly"), created=at(-8)),
        an_event(a_subscription("scale_monthly"), created=at(-7)),
        an_event(a_subscription("scale_monthly", status="past_due"), created=at(-6)),
    ]
    outcomes = set()
    for number, order in enumerate(itertools.permutations(story)):
        bodies = [
            body.replace(b"cus_1", b"cus_x%d" % number)
            .replace(b"sub_1", b"sub_x%d" % number)
            .replace(b'"evt_', b'"evt_%d_' % number)
            for body in order
        ]
        account = await create_account(ledger, "Bob")
        await ledger.execute(
            "UPDATE accounts SET stripe_customer = $2 WHERE id = $1", account.id, f"cus_x{number}"
        )
        for body in bodies:
            await take_in(ledger, body)
        row = await ledger.fetchrow(
            "SELECT stripe_plan, stripe_plan_until FROM accounts WHERE id = $1", account.id
        )
        outcomes.add(tuple(row or ()))

    assert outcomes == {("scale", NOW + timedelta(days=1))}  # late for six days of seven


async def test_grace_ends_though_stripe_says_nothing(ledger: Connection, ada: UUID) -> None:
    await take_in(
        ledger,
        an_event(a_subscription("pro_monthly"), created=at(-9)),
        an_event(a_subscription("pro_monthly", status="past_due"), created=at(-5)),
        an_event(a_subscription("pro_monthly", status="past_due"), created=at(-1)),  # tried again
    )
    ends = NOW + timedelta(days=2)  # of seven

    assert await list_due(ledger, ends - timedelta(seconds=1), 10) == []
    assert await list_due(ledger, ends, 10) == ["cus_1"]
    async with ledger.transaction():
        early = await follow(ledger, ["cus_1"], PLANS, now=ends - timedelta(seconds=1))
        late = await follow(ledger, ["cus_1"], PLANS, now=ends, why="timer")

    assert (list(early), list(late)) == ([], [ada])
    assert await plan_of(ledger, ada) == "default"
    assert await list_due(ledger, ends + timedelta(days=99), 10) == []
    assert [change.why for change in await list_changes(ledger, ada)][:1] == ["timer"]


@pytest.mark.usefixtures("ada")
async def test_paying_late_ends_the_grace(ledger: Connection) -> None:
    await take_in(
        ledger,
        an_event(a_subscription("pro_monthly", status="past_due"), created=at(-6)),
        an_event(a_subscription("pro_monthly"), created=at(-5)),
    )
    assert await list_due(ledger, NOW + timedelta(days=999), 10) == []

    # late again: the days count anew
    await take_in(ledger, an_event(a_subscription("pro_monthly", status="past_due")))

    assert await ledger.fetchval("SELECT stripe_plan_until FROM accounts") == NOW + timedelta(
        days=6
    )


# --- who is who ---------------------------------------------------------------------


async def test_a_customer_that_names_an_account_is_linked(ledger: Connection) -> None:
    account = await create_account(ledger, "Ada")
    customer = a_customer(metadata={"tollgate_account": str(account.id)})

    await take_in(ledger, an_event(a_subscription("pro_monthly")))  # before its customer
    await take_in(ledger, an_event(customer))

    assert await plan_of(ledger, account.id) == "pro"
    assert await list_linked(ledger, "", 10) == ["cus_1"]


async def test_an_account_is_never_linked_anew(ledger: Connection, ada: UUID) -> None:
    thief = a_customer("cus_2", metadata={"tollgate_account": str(ada)})

    await take_in(
        ledger, an_event(thief), an_event(a_subscription("scale_monthly", customer="cus_2"))
    )

    assert await list_linked(ledger, "", 10) == ["cus_1"]
    assert await plan_of(ledger, ada) == "default"


@pytest.mark.parametrize("named", ["", "nobody", "00000000-0000-0000-0000-000000000000", None, 7])
async def test_a_customer_that_names_nobody_is_passed_over(
    ledger: Connection, named: object
) -> None:
    changed = await take_in(ledger, an_event(a_customer(metadata={"tollgate_account": named})))

    assert not changed


async def test_an_email_links_nobody(ledger: Connection) -> None:
    await create_account(ledger, "ada@example.com")

    await take_in(ledger, an_event(a_customer(email="ada@example.com", name="ada@example.com")))

    assert await list_linked(ledger, "", 10) == []


async def test_a_deleted_customer_has_nothing(ledger: Connection, ada: UUID) -> None:
    await take_in(
        ledger, an_event(a_subscription("pro_monthly")), an_event(a_summary("scale_monthly"))
    )
    assert await plan_of(ledger, ada) == "scale"

    gone = an_event(a_customer(), kind="deleted")
    await take_in(ledger, gone)

    assert await plan_of(ledger, ada) == "default"
    (change, *_) = await list_changes(ledger, ada)
    assert (change.plan_before, change.plan, change.why) == ("scale", "default", _id_of(gone))


async def test_who_was_a_customer_that_is_deleted_can_become_another_one(
    ledger: Connection, ada: UUID
) -> None:
    await take_in(ledger, an_event(a_customer(), kind="deleted"))
    after = await list_linked(ledger, "", 10)
    metadata = {"tollgate_account": str(ada)}
    stale = an_event(a_customer(metadata=metadata), created=at(-2))
    await take_in(ledger, stale, an_event(a_subscription("pro_monthly"), created=at(-2)))
    still = await list_linked(ledger, "", 10)

    await take_in(
        ledger,
        an_event(a_customer("cus_2", metadata=metadata)),
        an_event(a_subscription("scale_monthly", id="sub_2", customer="cus_2")),
    )

    assert after == still == []
    assert await list_linked(ledger, "", 10) == ["cus_2"]
    assert await plan_of(ledger, ada) == "scale"


async def test_who_is_due_is_not_kept_waiting_by_what_cannot_be_read(
    ledger: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consumers.stripe.plans.BATCH", 2)
    accounts_ = [await create_account(ledger, f"{number}") for number in range(5)]
    for number, account in enumerate(accounts_):
        customer = f"cus_{number}"
        metadata = {"tollgate_account": str(account.id)}
        subscription = a_subscription(
            "pro_monthly", id=f"sub_{number}", customer=customer, cancel_at=at(1)
        )
        await take_in(
            ledger,
            an_event(a_customer(customer, metadata=metadata), created=at(-3)),
            an_event(subscription, created=at(-2)),
        )
        if number < 4:
            cheerful = {**subscription, "status": "cheerful"}
            await take_in(ledger, an_event(cheerful))
    file = PlansFile(None)
    monkeypatch.setattr(file, "plans", PLANS)

    assert await follow_due(ledger, file) == 1
    assert [await plan_of(ledger, one.id) for one in accounts_] == [*["pro"] * 4, "default"]
    assert await list_due(ledger, datetime.now(UTC), 10) == []  # not asked for all the time


async def test_what_cannot_be_read_leaves_the_plan_as_it_is(ledger: Connection, ada: UUID) -> None:
    await take_in(ledger, an_event(a_subscription("pro_monthly"), created=at(-2)))

    await take_in(ledger, an_event(a_subscription("pro_monthly", status="cheerful")))

    assert await plan_of(ledger, ada) == "pro"


async def _race(ledger: Connection, database_url: str) -> None:
    """Two each take in one of two subscriptions, the second before the first commits."""
    other = await asyncpg.connect(database_url)
    bodies = [
        an_event(a_subscription("pro_monthly", id="sub_2", status=status), created=at(days))
        for status, days in (("incomplete", -2), ("active", -1))
    ]
    await take_in(ledger, an_event(a_subscription("scale_monthly"), created=at(-2)), bodies[0])
    async with ledger.transaction():
        await take_in(ledger, an_event(a_subscription("scale_monthly", status="unpaid")))
        second = asyncio.create_task(take_in(other, bodies[1]))

        async def is_there() -> bool:
            return second.done() or bool(await ledger.fetchval(BLOCKED))

        await until(is_there)
    await second
    await other.close()


async def test_who_sees_half_of_it_waits_for_the_other_half(
    ledger: Connection, database_url: str, ada: UUID
) -> None:
    await _race(ledger, database_url)

    assert await plan_of(ledger, ada) == "pro"


async def test_control_without_the_lock_the_other_half_is_lost(
    ledger: Connection, database_url: str, ada: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    without = {**_sql.load("entitlements.sql"), "lock_customers": "SELECT $1::text[]"}
    monkeypatch.setattr(entitlements, "_SQL", without)

    await _race(ledger, database_url)

    assert await plan_of(ledger, ada) == "default"


async def test_a_customer_that_an_account_leaves_gives_it_nothing_more(
    ledger: Connection, database_url: str, ada: UUID
) -> None:
    other = await asyncpg.connect(database_url)
    async with ledger.transaction():
        await take_customer(ledger, ada, "cus_2", [], asked_at=NOW, plans=PLANS, instead=True)
        body = an_event(a_subscription("pro_monthly", customer="cus_1"))
        second = asyncio.create_task(take_in(other, body))

        async def is_there() -> bool:
            return second.done() or bool(await ledger.fetchval(BLOCKED))

        await until(is_there)
    await second
    await other.close()

    assert await plan_of(ledger, ada) == "default"


# --- features -----------------------------------------------------------------------


async def test_a_plan_is_had_by_a_feature_too(ledger: Connection, ada: UUID) -> None:
    await take_in(ledger, an_event(a_summary("pro_monthly", "other"), created=at(-3)))
    assert await plan_of(ledger, ada) == "pro"

    await take_in(ledger, an_event(a_summary(), created=at(-2)))
    late = await take_in(ledger, an_event(a_summary("scale_monthly"), created=at(-4)))

    assert not late
    assert await plan_of(ledger, ada) == "default"


async def test_features_beyond_ten_count_once_stripe_was_asked(
    ledger: Connection, ada: UUID
) -> None:
    await take_in(ledger, an_event(a_summary("pro_monthly", has_more=True)))
    whole = a_summary("pro_monthly", "scale_monthly")
    async with ledger.transaction():
        changed = await store_objects(ledger, [whole], fetched_at=await asking_at(ledger))
        await follow(ledger, changed.customers, PLANS, now=NOW)

    assert await plan_of(ledger, ada) == "scale"
    assert [change.why for change in await list_changes(ledger, ada)][:1] == ["asked of Stripe"]


async def test_an_event_that_names_ten_features_takes_no_plan_away(
    ledger: Connection, ada: UUID
) -> None:
    async with ledger.transaction():
        whole = a_summary("pro_monthly", "scale_monthly")
        changed = await store_objects(ledger, [whole], fetched_at=NOW - timedelta(days=9))
        await follow(ledger, changed.customers, PLANS, now=NOW)

    told = await take_in(ledger, an_event(a_summary("pro_monthly", has_more=True)))

    assert not told
    assert await plan_of(ledger, ada) == "scale"
    async with ledger.transaction():
        fewer = a_summary("pro_monthly")
        changed = await store_objects(ledger, [fewer], fetched_at=await asking_at(ledger))
        await follow(ledger, changed.customers, PLANS, now=NOW)
    assert await plan_of(ledger, ada) == "pro"


# --- what was so, and when ----------------------------------------------------------


async def test_what_the_terms_were_at_any_time(ledger: Connection, ada: UUID) -> None:
    await record_plans(ledger, PLANS)
    await take_in(ledger, an_event(a_subscription("pro_monthly")))
    noon = await ledger.fetchval("SELECT clock_timestamp()")
    await change_account(ledger, ada, {"limits": {"day": 5}, "plan": "free"}, why="operator")
    better = {**PLANS, "pro": Plan(name="pro", concurrency=9, lookup_keys=("pro_monthly",))}
    await record_plans(ledger, better)
    await record_plans(ledger, better)
    evening = await ledger.fetchval("SELECT clock_timestamp()")

    then, now = [await find_terms(ledger, ada, moment) for moment in (noon, evening)]
    before = await find_terms(ledger, ada, NOW - timedelta(days=9_999))

    assert before is None
    assert then
    assert now
    assert (then.plan, then.plan_before, then.limits) == ("pro", "default", {})
    assert then.why.startswith("evt_")
    assert then.terms
    assert then.terms["concurrency"] is None
    assert (now.plan, now.operator_plan, now.limits, now.why) == (
        "pro",
        "free",
        {"day": 5},
        "operator",
    )
    assert now.terms
    assert now.terms["concurrency"] == 9
    assert [change.why for change in await list_changes(ledger, ada)][-1] == "operator"
    assert await ledger.fetchval("SELECT count(*) FROM plan_versions") == 4


async def test_a_key_is_no_change_of_terms(ledger: Connection, ada: UUID) -> None:
    await create_key(ledger, ada, "", SECRET)
    await change_account(ledger, ada, {"plan": "default"})

    assert len(await list_changes(ledger, ada)) == 1


@pytest.mark.usefixtures("ada")
@pytest.mark.parametrize("change", ["UPDATE plan_changes SET why = ''", "DELETE FROM plan_changes"])
async def test_what_was_recorded_stays(ledger: Connection, change: str) -> None:
    with pytest.raises(asyncpg.RaiseError, match="append only"):
        await ledger.execute(change)

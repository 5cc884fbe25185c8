"""Limits are exact over any number of edges, whatever happens to them and to the broker.

What an edge believes does not count here: the tests count what was let through.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Iterable
from uuid import UUID

import pytest
from msgspec.structs import replace
from nats.aio.client import Client

from deploy.local.nats import Nats
from edge.admission import Admission
from edge.auth import Caller
from edge.errors import (
    BrokerAway,
    BudgetExhausted,
    EdgeError,
    NotInPlan,
    NotInScope,
    RateLimited,
    TooManyAtOnce,
)
from edge.plans import RunningPlans
from events import streams
from events.ids import new_id
from events.usage import Quantities
from ledger.accounts import create_account
from ledger.db import Connection
from ledger.usage import fold_usage
from tests.edge.admissions import WORDS, Edges, a_caller, answer, ask, requests, words
from tests.link import linked
from tests.usage import a_usage, recorded
from tests.waiting import PATIENCE_S, until


async def hammer(
    admissions: Iterable[Admission],
    caller: Caller,
    *,
    times: int,
    run_s: float = 0.0,
    at: UUID | None = None,
) -> Counter[str]:
    """Ask everywhere at once; what came of it."""
    outcomes: Counter[str] = Counter()

    async def one(admission: Admission) -> None:
        for _ in range(times):
            try:
                admitted = await ask(admission, caller, at=at)
            except EdgeError as error:
                outcomes[error.code] += 1
            else:
                outcomes["admitted"] += 1
                await asyncio.sleep(random.random() * run_s)
                await answer(admitted)

    async with asyncio.TaskGroup() as tasks:
        for admission in admissions:
            for _ in range(4):
                tasks.create_task(one(admission))
    return outcomes


async def test_a_limit_lets_through_what_it_says_and_then_says_when_to_come_back(
    edges: Edges,
) -> None:
    edges.plan(requests(3))
    edge, caller = await edges.start(), a_caller()

    for _ in range(3):
        await answer(await ask(edge, caller))
    with pytest.raises(RateLimited) as refused:
        await ask(edge, caller)

    now = time.time()
    assert refused.value.policy == "some"
    assert refused.value.retry_after_s is not None
    assert (now + refused.value.retry_after_s) // 86_400 == now // 86_400 + 1
    headers = dict(refused.value.headers)
    assert headers[b"ratelimit-policy"] == b'"some";q=3;w=86400'
    assert headers[b"ratelimit"].startswith(b'"some";r=0;t=')
    assert headers[b"x-ratelimit-remaining-requests"] == b"0"


@pytest.mark.parametrize(
    "policy", [requests(100), requests(1_000, "minute"), words(1_000), words(10_000, "minute")]
)
async def test_many_edges_together_let_through_exactly_the_limit(edges: Edges, policy: str) -> None:
    edges.plan(policy)
    admissions = [await edges.start() for _ in range(4)]
    caller = a_caller()
    limit = 100 if policy in {requests(100), words(1_000)} else 1_000
    at = new_id()  # of all: in one minute, also if that ends meanwhile

    outcomes = await hammer(admissions, caller, times=limit // 8, at=at)
    # what one edge took ahead and did not use is back within some seconds
    async with asyncio.timeout(PATIENCE_S):
        while outcomes["admitted"] < limit:
            await asyncio.sleep(0.5)
            outcomes += await hammer(admissions, caller, times=limit // 8, at=at)

    assert set(outcomes) == {"admitted", "rate_limited"}
    assert outcomes["admitted"] == limit


async def test_concurrency_counts_what_runs_on_all_edges(edges: Edges) -> None:
    edges.plan(more="concurrency = 3")
    admissions = [await edges.start() for _ in range(3)]
    caller = a_caller()

    running = [await ask(admission, caller) for admission in admissions]
    for admission in admissions:
        with pytest.raises(TooManyAtOnce):
            await ask(admission, caller)
    running[0].end()
    again = await ask(admissions[0], caller)
    again.end()

    assert [limit.remaining for limit in await admissions[1].limits(caller, time_ms())] == [0]


async def _has_room(edge: Admission, caller: Caller) -> bool:
    try:
        (await ask(edge, caller)).end()
    except (RateLimited, TooManyAtOnce):
        return False
    return True


async def test_a_slot_that_an_edge_has_left_over_is_free_for_others(edges: Edges) -> None:
    edges.plan(more="concurrency = 1")
    one, other = await edges.start(), await edges.start()
    caller = a_caller()
    (await ask(one, caller)).end()

    await until(lambda: _has_room(other, caller))


async def test_the_slot_of_a_slow_request_is_free_again_once_it_ends(edges: Edges) -> None:
    """Its allowance was not touched for long: it must be looked after all the same."""
    edges.plan(more="concurrency = 1")
    one, other = [await edges.start(hold_s=2 * PATIENCE_S) for _ in range(2)]  # none expires here
    caller = a_caller()
    slow = await ask(one, caller)
    await asyncio.sleep(2.0)
    slow.end()

    await until(lambda: _has_room(other, caller))


async def test_the_slots_of_a_dead_edge_are_free_once_they_expire(edges: Edges) -> None:
    edges.plan(more="concurrency = 2")
    dying, other = await edges.start(hold_s=1.0), await edges.start(hold_s=1.0)
    caller = a_caller()
    for _ in range(2):
        await ask(dying, caller)  # and it never ends
    with pytest.raises(TooManyAtOnce):
        await ask(other, caller)

    await until(lambda: _has_room(other, caller))


async def test_a_budget_is_never_overspent_and_left_whole(edges: Edges) -> None:
    """Each request may cost 10 and costs 3: what is held is more than what is used."""
    edges.plan(more='monthly_budget = "0.000100"\nprices = { input_words = "1.00" }')
    admissions = [await edges.start() for _ in range(4)]
    caller = a_caller()
    spent = running = 0

    async def one(admission: Admission) -> None:
        nonlocal spent, running
        while spent + 10 <= 100:
            try:
                admitted = await ask(admission, caller)
            except BudgetExhausted:
                await asyncio.sleep(0.05)
                continue
            running += 10
            assert spent + running <= 100
            await asyncio.sleep(random.random() / 50)
            running -= 10
            spent += 3
            await answer(admitted, Quantities(input_words=3))

    async with asyncio.TaskGroup() as tasks:
        for admission in admissions:
            tasks.create_task(one(admission))
            tasks.create_task(one(admission))

    (budget,) = await admissions[0].limits(caller, time_ms())
    assert budget.name == "monthly_budget"
    assert 90 < spent <= 100
    await until(lambda: _used(admissions[1], caller, spent * 1_000))


async def _used(admission: Admission, caller: Caller, amount: int) -> bool:
    (limit,) = await admission.limits(caller, time_ms())
    return limit.used == amount


async def test_what_failed_is_given_back(edges: Edges) -> None:
    edges.plan(requests(1, name="one"), words(10))
    edge, caller = await edges.start(), a_caller()

    for _ in range(3):
        admitted = await ask(edge, caller)
        admitted.refund(unused=True)
        admitted.end()
    await answer(await ask(edge, caller))

    with pytest.raises(RateLimited):
        await ask(edge, caller)


async def test_a_shadow_limit_refuses_nobody(edges: Edges) -> None:
    edges.plan(requests(1, more="shadow = true"))
    edge, caller = await edges.start(), a_caller()

    for _ in range(3):
        admitted = await ask(edge, caller)
        await answer(admitted)

    assert admitted.headers() == []


async def test_windows_are_by_the_time_in_the_request_id(edges: Edges) -> None:
    edges.plan(requests(1, "minute"))
    edge, caller = await edges.start(), a_caller()
    this = int(time.time()) // 60 * 60_000
    last_minute, first = _id_at(this - 1), _id_at(this)

    await answer(await ask(edge, caller, at=first))
    await answer(await ask(edge, caller, at=last_minute))  # late, and of another window
    with pytest.raises(RateLimited):
        await ask(edge, caller, at=_id_at(this + 59_999))
    with pytest.raises(RateLimited):
        await ask(edge, caller, at=_id_at(this - 60_000))
    await answer(await ask(edge, caller, at=_id_at(this + 60_000)))


def _id_at(milliseconds: int) -> UUID:
    return UUID(int=(new_id().int & (2**80 - 1)) | milliseconds << 80)


async def test_a_limit_counts_what_it_is_for_and_for_whom(edges: Edges) -> None:
    edges.plan(
        requests(1, name="mine", more='per = "key"\nonly = ["task"]'),
        requests(9, name="other", more='only = ["another"]'),
    )
    edge, caller = await edges.start(), a_caller()
    colleague = Caller(caller.account, replace(caller.key, id="another"))

    await answer(await ask(edge, caller))
    await answer(await ask(edge, colleague))
    for who in (caller, colleague):
        with pytest.raises(RateLimited):
            await ask(edge, who)
    await answer(await edge.admit(caller, "model", "unlimited", new_id(), lambda: WORDS))


async def test_an_account_may_have_limits_of_its_own(edges: Edges) -> None:
    edges.plan(requests(1))
    edge, caller = await edges.start(), a_caller(limits={"some": 2}, concurrency=5)
    for _ in range(2):
        await answer(await ask(edge, caller))

    with pytest.raises(RateLimited):
        await ask(edge, caller)
    limits = await edge.limits(caller, time_ms())

    assert [(limit.name, limit.limit) for limit in limits] == [("concurrency", 5), ("some", 2)]


async def test_a_plan_and_a_key_say_which_models(edges: Edges) -> None:
    edges.plan(more='models = ["model"]')
    edge, caller = await edges.start(), a_caller()
    scoped = Caller(caller.account, replace(caller.key, scope=("embeddings",)))

    edge.require(caller, "model", "task")
    edge.require(scoped, "model", "embeddings")
    with pytest.raises(NotInPlan):
        edge.require(caller, "other", "task")
    with pytest.raises(NotInScope):
        edge.require(scoped, "model", "task")


async def test_an_absurd_request_is_refused_and_holds_nothing(edges: Edges) -> None:
    edges.plan(words(100))
    edge, caller = await edges.start(), a_caller()

    with pytest.raises(RateLimited, match="more than is ever allowed") as refused:
        await ask(edge, caller, Quantities(input_words=10**12))
    for _ in range(10):
        await answer(await ask(edge, caller))

    assert refused.value.retry_after_s is None


async def test_lost_acknowledgements_and_reconnects_let_nobody_through(
    edges: Edges, nats_url: str
) -> None:
    edges.plan(requests(200))
    caller = a_caller()
    async with linked(nats_url) as (link, url):
        shaky, steady = await edges.start(url=url), await edges.start()
        outcomes = await hammer([shaky, steady], caller, times=5)
        for _ in range(3):
            link.swallow_replies()
            attempt = asyncio.create_task(hammer([shaky], caller, times=8))
            await asyncio.sleep(0.1)
            link.cut()
            link.restore()
            outcomes += await attempt
            outcomes += await hammer([steady], caller, times=5)
        await asyncio.sleep(1.5)
        outcomes += await hammer([steady], caller, times=60)

    assert 100 < outcomes["admitted"] <= 200, outcomes


@pytest.mark.parametrize("gracefully", [True, False])
async def test_a_small_quota_is_exact_over_a_restart_of_the_broker(
    edges: Edges, nats_server: Nats, *, gracefully: bool
) -> None:
    edges.plan(requests(120))
    caller = a_caller()
    admissions = [await edges.start(), await edges.start()]
    outcomes = await hammer(admissions, caller, times=8)

    load = asyncio.create_task(hammer(admissions, caller, times=8, run_s=0.1))
    await asyncio.sleep(0.1)
    nats_server.stop() if gracefully else nats_server.kill()
    nats_server.start()
    outcomes += await load
    await until(lambda: _answers(admissions[0], caller))
    await asyncio.sleep(1.5)
    outcomes += await hammer(admissions, caller, times=30)

    assert 60 < outcomes["admitted"] <= 120, outcomes


async def _answers(admission: Admission, caller: Caller) -> bool:
    try:
        await admission.limits(caller, time_ms())
    except BrokerAway:
        return False
    return True


async def test_what_a_dead_edge_took_is_found_out_from_the_ledger(
    edges: Edges, nats: Client, ledger: Connection
) -> None:
    """A thousand a day; an edge dies with all of them, of which it used four."""
    edges.plan(requests(1_000))
    await nats.jetstream().add_consumer(streams.USAGE, streams.usage_fold())
    caller = a_caller()
    dying = await edges.start(hold_s=0.1)
    taken = [await ask(dying, caller) for _ in range(1_000)]
    assert len(taken) == 1_000
    await fold_usage(ledger, [recorded(a_usage(caller.account.id)) for _ in range(4)])
    other = await edges.start(hold_s=0.1)
    with pytest.raises(RateLimited):
        await ask(other, caller)

    await until(lambda: _has_room(other, caller))
    await until(lambda: _used(other, caller, 5))  # once what was taken ahead is back


async def test_a_counter_that_is_gone_starts_from_the_ledger(
    edges: Edges, ledger: Connection
) -> None:
    edges.plan(more='prepaid = true\nprices = { input_words = "1.00" }')
    caller = a_caller(credit=100_000)
    usage = a_usage(caller.account.id)
    spent = replace(usage, quantities=Quantities(input_words=85, cost=85_000))
    await fold_usage(ledger, [recorded(spent)])
    edge = await edges.start()

    await answer(await ask(edge, caller))
    with pytest.raises(BudgetExhausted):
        await ask(edge, caller)


async def test_changed_plans_count_from_then_on_and_a_bad_file_changes_nothing(
    edges: Edges,
) -> None:
    edges.plan(requests(1))
    plans = RunningPlans(edges.plans)
    watching = asyncio.create_task(plans.watch())
    edges.plans.write_text("plan = 7")
    await asyncio.sleep(1.5)
    before = plans.of(a_caller().account)
    edges.plan(requests(2))
    await until(lambda: plans.of(a_caller().account) is not before)
    watching.cancel()

    assert before.policy[0].limit == 1
    assert plans.of(a_caller().account).policy[0].limit == 2


async def test_a_clock_that_jumps_loses_nobody_a_window_and_lets_nobody_through(
    edges: Edges, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An hour ahead, back again, and a day back: each id's own window is what counts."""
    edges.plan(requests(5, "hour"))
    edge, caller = await edges.start(), a_caller()
    true_time = time.time
    admitted: Counter[int] = Counter()
    for jump_s in (0, 3_600, 0, -86_400, 3_600, 0):
        monkeypatch.setattr(time, "time", lambda: true_time() + jump_s)  # noqa: B023 - until the next jump
        for _ in range(4):
            at = _id_at(time_ms())
            try:
                await answer(await ask(edge, caller, at=at))
            except RateLimited:
                continue
            admitted[(at.int >> 80) // 3_600_000] += 1
    monkeypatch.undo()

    assert max(admitted.values()) == 5
    assert len(admitted) >= 3


def time_ms() -> int:
    return int(time.time() * 1_000)


async def test_a_budget_is_announced_at_four_fifths_and_at_its_end(
    edges: Edges, ledger: Connection
) -> None:
    edges.plan(more='monthly_budget = "0.000100"\nprices = { input_words = "1.00" }')
    one, other = await edges.start(), await edges.start()
    account = await create_account(ledger, "tests")
    caller = replace(a_caller(), account=account)

    for number in range(8):
        await answer(await ask((one, other)[number % 2], caller))
    await until(lambda: _alerts(ledger, 1))
    await answer(await ask(one, caller))
    for edge in (one, other):
        with pytest.raises(BudgetExhausted):
            await ask(edge, caller, Quantities(input_words=20))
    await until(lambda: _alerts(ledger, 2))

    rows = await ledger.fetch("SELECT percent, budget FROM budget_alerts ORDER BY percent")
    assert [tuple(row) for row in rows] == [(80, "monthly_budget"), (100, "monthly_budget")]


async def _alerts(ledger: Connection, number: int) -> bool:
    return bool(await ledger.fetchval("SELECT count(*) FROM budget_alerts") == number)

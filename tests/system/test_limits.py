"""Limits of four edges on one broker, by an oracle: what reached the worker.

What an edge believes does not count, nor what a caller was told.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from uuid import UUID

import httpx
import pytest
from nats.aio.client import Client

from deploy.local.nats import Nats
from events import counters, streams, usage
from events.usage import UsageVoided
from events.windows import span
from ledger.db import Connection
from tests.consumers.pipeline import Pipeline
from tests.system.fleet import PATH, Customer, Fleet, fleet
from tests.waiting import PATIENCE_S, until

EDGES = 4
PER_MINUTE = 6
PER_DAY = 40
BUDGET = 30  # requests' worth
STEADY = 1_000
PLANS = f"""
[[plan]]
name = "default"

[[plan]]
name = "everything"
prices = {{ input_words = "1000.00" }}
monthly_budget = "{BUDGET * 0.003:.3f}"

[[plan.policy]]
name = "minute"
unit = "requests"
limit = {PER_MINUTE}
window = "minute"

[[plan.policy]]
name = "day"
unit = "requests"
limit = {PER_DAY}
window = "day"

[[plan]]
name = "budget"
prices = {{ input_words = "1000.00" }}
monthly_budget = "{BUDGET * 0.003:.3f}"

[[plan]]
name = "hundred"
prices = {{ input_words = "1000.00" }}
monthly_budget = "0.300"

[[plan]]
name = "steady"

[[plan.policy]]
name = "day"
unit = "requests"
limit = {STEADY}
window = "day"
"""  # an echo of three words costs 0.003
BODY = {"text": "one two three"}


@pytest.fixture
async def four(
    nats: Client, nats_url: str, database_url: str, ledger: Connection, tmp_path: Path
) -> AsyncIterator[Fleet]:
    await streams.prepare(nats, streams.Sizes())
    plans = tmp_path / "plans.toml"
    plans.write_text(PLANS)
    async with fleet(
        EDGES, nats_url=nats_url, database_url=database_url, ledger=ledger, plans=plans
    ) as started:
        yield started


class Load:
    """Bursts from many customers to random edges, until it is told to stop."""

    def __init__(self, four: Fleet, customers: Sequence[Customer]) -> None:
        self._four = four
        self._customers = customers
        self.statuses: Counter[int] = Counter()
        self.answered: Counter[UUID] = Counter()
        self.stopping = False

    async def run(self, callers: int) -> None:
        limits = httpx.Limits(max_connections=callers * EDGES)
        async with (
            httpx.AsyncClient(timeout=PATIENCE_S, limits=limits) as client,
            asyncio.TaskGroup() as tasks,
        ):
            for _ in range(callers):
                tasks.create_task(self._call(client))

    async def _call(self, client: httpx.AsyncClient) -> None:
        while not self.stopping:
            customer = random.choice(self._customers)
            for _ in range(random.randint(1, 12)):
                url = random.choice(self._four.edges).url + PATH
                try:
                    answer = await client.post(url, json=BODY, headers=customer.headers)
                except httpx.TransportError:
                    self.statuses[0] += 1
                    await asyncio.sleep(0.05)
                    continue
                self.statuses[answer.status_code] += 1
                if answer.status_code == 200:
                    self.answered[customer.account_id] += 1
            await asyncio.sleep(random.random() * 0.05)


async def test_never_one_too_many_whatever_breaks(four: Fleet, nats_server: Nats) -> None:
    customers = await four.customers(200, "everything")
    load = Load(four, customers)
    # most of it around the turn of a minute
    await asyncio.sleep(max(0.0, 50 - time.time() % 60))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(load.run(callers=24))
        await until(lambda: load.statuses[200] > 300)
        await four.edges[0].kill()
        await four.edges[0].start()
        await until(lambda: load.statuses[200] > 600)
        nats_server.stop()
        nats_server.start()
        await four.edges[0].ready()
        turn = time.time() // 60 * 60 + 62
        await until(lambda: time.time() > turn)
        before = load.statuses[200]
        nats_server.kill()
        nats_server.start()
        await four.edges[1].kill()
        await four.edges[1].start()
        await four.edges[1].ready()
        await until(lambda: load.statuses[200] > before + 100)
        load.stopping = True

    worker = four.worker
    assert load.statuses[429] > 100, load.statuses  # they did try
    assert max(worker.asked.values()) == PER_MINUTE
    assert max(worker.by_account().values()) <= PER_DAY
    billed = await _billed(worker.nats)
    assert max(billed.values()) <= BUDGET
    assert all(billed[account] >= times for account, times in load.answered.items())


async def test_a_budget_is_spent_to_its_end_and_never_beyond(
    four: Fleet, nats_url: str, database_url: str
) -> None:
    """Only the budget counts here: many at once on all edges, and an edge dies in between.

    It may die between counting and metering; then the ledger tells what was too much.
    """
    customers = await four.customers(40, "budget")
    load = Load(four, customers)
    consumers = Pipeline(four.worker.nats, four.ledger, nats_url, database_url)
    async with consumers.consuming(), asyncio.TaskGroup() as tasks:
        tasks.create_task(load.run(callers=24))
        await until(lambda: load.statuses[200] > 300)
        await _count_without_metering(four.worker.nats, customers[0])
        await four.edges[0].kill()
        await four.edges[0].start()
        await four.edges[0].ready()

        async def spent() -> bool:
            billed = await _billed(four.worker.nats)
            return len(billed) == len(customers) and min(billed.values()) == BUDGET

        # what the dead edge held is free again once it has expired
        await until(spent)
        load.stopping = True

    billed = await _billed(four.worker.nats)
    assert set(billed.values()) == {BUDGET}
    assert load.statuses[402] > 0


async def test_an_edge_dies_with_a_hundred_in_flight_and_the_budget_is_whole_again(
    four: Fleet,
) -> None:
    customer = await four.customer("hundred")
    dying, other = four.edges[:2]
    four.worker.open.clear()
    async with httpx.AsyncClient(timeout=PATIENCE_S, headers=customer.headers) as client:
        asking = [asyncio.create_task(client.post(dying.url + PATH, json=BODY)) for _ in range(100)]
        await until(lambda: four.worker.by_account()[customer.account_id] == 100)
        held = await client.post(other.url + PATH, json=BODY)
        await dying.kill()
        await asyncio.gather(*asking, return_exceptions=True)
        four.worker.open.set()

        async def whole() -> bool:
            return (await client.post(other.url + PATH, json=BODY)).status_code == 200

        await until(whole)

        async def all_of_it() -> bool:
            await client.post(other.url + PATH, json=BODY)
            return (await _billed(four.worker.nats))[customer.account_id] == 100

        await until(all_of_it)
        spent = await client.post(other.url + PATH, json=BODY)

    assert (held.status_code, spent.status_code) == (402, 402)
    assert held.json()["policy"] == "monthly_budget"


async def test_in_steady_load_hardly_anybody_is_refused_in_error(
    four: Fleet,
) -> None:
    customers = await four.customers(4, "steady")
    refused = 0

    async def ask(client: httpx.AsyncClient, customer: Customer, times: int) -> None:
        nonlocal refused
        for _ in range(times):
            url = random.choice(four.edges).url + PATH
            answer = await client.post(url, json=BODY, headers=customer.headers)
            assert answer.status_code in {200, 429}
            refused += answer.status_code == 429

    async with httpx.AsyncClient(timeout=PATIENCE_S) as client, asyncio.TaskGroup() as tasks:
        for customer in customers:
            for _ in range(5):
                tasks.create_task(ask(client, customer, STEADY // 5))

    assert max(four.worker.by_account().values()) <= STEADY
    assert refused <= 0.01 * STEADY * len(customers)


async def test_control_edges_that_do_not_share_their_counts_are_found_out(four: Fleet) -> None:
    """Without what they share, four edges let through four times as much: the oracle sees it."""
    customer = await four.customer("everything")
    async with httpx.AsyncClient(timeout=PATIENCE_S, headers=customer.headers) as client:
        for edge in four.edges:
            jetstream = four.worker.nats.jetstream()
            for shared in (streams.LIMITS, streams.QUOTAS):
                await jetstream.purge_stream(shared)
            for _ in range(PER_MINUTE):
                await client.post(edge.url + PATH, json=BODY)

    assert max(four.worker.by_account().values()) > PER_MINUTE


async def _count_without_metering(nats: Client, customer: Customer) -> None:
    """Do to a budget what an edge does that dies at the worst moment."""
    of_month = span("month", int(time.time() * 1_000))
    base = counters.base(
        counters.QUOTAS, "month", of_month, str(customer.account_id), "monthly_budget"
    )
    await nats.request(f"{base}.spent", b"", headers={"Nats-Incr": "+9000000"}, timeout=PATIENCE_S)


async def _billed(nats: Client) -> Counter[UUID]:
    """How many requests of each account are billed, by the stream."""
    billed: Counter[UUID] = Counter()
    jetstream = nats.jetstream()
    subscription = await jetstream.subscribe(usage.SUBJECTS, ordered_consumer=True)
    try:
        left = (await jetstream.stream_info(streams.USAGE)).state.messages
        for _ in range(left):
            event = usage.decode((await subscription.next_msg(PATIENCE_S)).data)
            billed[event.data.account_id] += -1 if isinstance(event, UsageVoided) else 1
    finally:
        await subscription.unsubscribe()
    return billed

"""Jobs, whoever dies: each is answered once, and billed once."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from msgspec import Struct
from nats.aio.client import Client

from deploy.local.nats import Nats
from events import streams
from ledger.db import Connection
from tests.consumers.pipeline import Pipeline
from tests.system.fleet import Customer, Fleet, fleet
from tests.system.system import sabotaged
from tests.waiting import PATIENCE_S, until

PATH = "/v1/async/counted/echo"
JOBS = 40
# more than all edges run at once, with what those who were killed hold until it expires
PLANS = '[[plan]]\nname = "default"\nconcurrency = 200\n'


class Shop(Struct):
    """Edges, a customer of theirs, and what is in the ledger."""

    fleet: Fleet
    customer: Customer
    pipeline: Pipeline
    home: Path

    def client(self, edge: int = 0) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            base_url=self.fleet.edges[edge].url, headers=self.customer.headers, timeout=PATIENCE_S
        )

    async def ask(self, number: int) -> Sequence[str]:
        """Ids of new jobs."""
        async with self.client() as client:
            answers = await asyncio.gather(
                *[client.post(PATH, json={"text": str(one)}) for one in range(number)]
            )
        assert {answer.status_code for answer in answers} == {202}
        return [answer.json()["url"].rpartition("/")[2] for answer in answers]

    async def check(self, asked: Sequence[str]) -> None:
        """See that each job is answered, and billed, once."""
        await until(self._idle)
        async with self.client(-1) as client:
            answers = [await client.get(f"/v1/jobs/{job_id}") for job_id in asked]
        unanswered = [answer for answer in answers if answer.status_code != 200]
        assert not unanswered, f"{len(unanswered)} jobs have no result"
        results = [answer.json() for answer in answers]
        assert {found["http_code"] for found in results} == {200}
        texts = [json.loads(found["content"])["text"] for found in results]
        assert texts == [str(one) for one in range(len(asked))]
        async with self.pipeline.consuming():
            await self.pipeline.until_settled()
        rows = await self.fleet.ledger.fetch(
            "SELECT request_id::text, sum(requests)::int AS times FROM usage_events "
            "WHERE account_id = $1 GROUP BY 1",
            self.customer.account_id,
        )
        billed = {row["request_id"]: row["times"] for row in rows if row["times"]}
        assert set(billed.values()) == {1}
        assert len(billed) == len(asked), f"{len(billed)} are billed of {len(asked)}"
        assert set(billed) == {found["request_id"] for found in results}

    async def _idle(self) -> bool:
        info = await self.fleet.worker.nats.jetstream().stream_info(streams.JOBS)
        return bool(info.state.messages == 0)


@asynccontextmanager
async def open_shop(
    sabotage: str, nats_url: str, database_url: str, ledger: Connection, home: Path
) -> AsyncIterator[Shop]:
    plans = home / "plans.toml"
    plans.write_text(PLANS)
    edges = 2 if sabotage == "hasten_jobs" else 1
    async with fleet(
        edges,
        nats_url=nats_url,
        database_url=database_url,
        ledger=ledger,
        plans=plans,
        environment={**sabotaged(home, sabotage), "TOLLGATE_DEADLINE_S": "200"},
    ) as started:
        customer = await started.customer("default")
        pipeline = Pipeline(started.worker.nats, ledger, nats_url, database_url)
        yield Shop(started, customer, pipeline, home)


@pytest.fixture(autouse=True)
async def prepared(nats: Client) -> None:
    await streams.prepare(nats, streams.Sizes())
    await nats.jetstream().add_consumer(streams.USAGE, streams.usage_fold())


async def test_each_job_is_answered_and_billed_once_whoever_is_killed(
    nats_server: Nats, nats_url: str, database_url: str, ledger: Connection, tmp_path: Path
) -> None:
    async with open_shop("hasten_jobs", nats_url, database_url, ledger, tmp_path) as shop:
        edges, worker = shop.fleet.edges, shop.fleet.worker
        worker.open.clear()
        asked = await shop.ask(JOBS)
        await until(lambda: len(worker.by_account()) and worker.by_account().total() >= 30)
        await edges[0].kill()  # while it runs jobs
        nats_server.stop()
        nats_server.start()
        await edges[0].start()
        await edges[0].ready()
        await edges[1].stop()  # what it runs goes back
        await edges[1].start()
        await edges[1].ready()
        worker.open.set()

        await shop.check(asked)


async def a_kill_between_usage_and_result(shop: Shop) -> Sequence[str]:
    reached = shop.home / "reached"
    (shop.home / "armed").touch()
    asked = await shop.ask(1)
    await until(reached.exists)
    await shop.fleet.edges[0].kill()
    await shop.fleet.edges[0].start()
    await shop.fleet.edges[0].ready()
    return asked


async def test_an_edge_killed_between_usage_and_result_bills_a_job_once(
    nats_url: str, database_url: str, ledger: Connection, tmp_path: Path
) -> None:
    shop_of = open_shop("dawdle_after_metering", nats_url, database_url, ledger, tmp_path)
    async with shop_of as shop:
        asked = await a_kill_between_usage_and_result(shop)

        await shop.check(asked)
        assert shop.fleet.worker.asked.total() == 2  # it did run again


async def test_control_a_job_that_is_billed_at_each_attempt_is_found_out(
    nats_url: str, database_url: str, ledger: Connection, tmp_path: Path
) -> None:
    shop_of = open_shop("bill_each_attempt", nats_url, database_url, ledger, tmp_path)
    async with shop_of as shop:
        asked = await a_kill_between_usage_and_result(shop)

        with pytest.raises(AssertionError, match="2 are billed of 1"):
            await shop.check(asked)


async def test_control_an_edge_that_acknowledges_jobs_first_is_found_out(
    nats_url: str, database_url: str, ledger: Connection, tmp_path: Path
) -> None:
    shop_of = open_shop("acknowledge_jobs_first", nats_url, database_url, ledger, tmp_path)
    async with shop_of as shop:
        shop.fleet.worker.open.clear()
        asked = await shop.ask(3)
        await until(lambda: shop.fleet.worker.asked.total() == 3)
        await shop.fleet.edges[0].kill()
        await shop.fleet.edges[0].start()
        await shop.fleet.edges[0].ready()
        shop.fleet.worker.open.set()

        with pytest.raises(AssertionError, match="3 jobs have no result"):
            await shop.check(asked)

"""Streams through several edges, of which one dies, or their worker does.

A worker says a token every ten milliseconds; what is billed is read from the stream.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from pathlib import Path
from uuid import UUID

import httpx
import pytest
from msgspec import Struct
from nats.aio.client import Client

from events import streams, usage
from events.inference import WINDOW
from events.usage import UsageVoided
from ledger.db import Connection
from tests.system.fleet import STREAM_TOKENS, TOKEN_S, Customer, EdgeProcess, Fleet, fleet
from tests.system.scribe import a_worker
from tests.system.system import sabotaged
from tests.waiting import PATIENCE_S, until

PATH = "/v1/counted/generation"
ENDLESS = "on " * 30_000  # words, that a scribe copies
BUDGET = 1_000  # tokens
PLANS = f"""
[[plan]]
name = "default"

[[plan]]
name = "budget"
prices = {{ output_tokens = "1.00" }}
monthly_budget = "{BUDGET / 1_000_000:.6f}"
"""
UNBILLED_S = 1.0  # at most, as promised
NOISE_S = 1.0  # more: how long a shared machine may take to meter a part
UNBILLED = round((UNBILLED_S + NOISE_S) / TOKEN_S)  # tokens; none come while all stand still

# what a machine that stands still for some seconds would break first
PATIENT = {"TOLLGATE_DEADLINE_S": "200", "TOLLGATE_PUBLISH_TIMEOUT_S": "60"}

Start = Callable[..., AbstractAsyncContextManager[Fleet]]


class Read(Struct):
    """One stream, as its caller saw it."""

    request_id: UUID | None = None
    pieces: int = 0
    end: dict[str, object] | None = None

    async def go(
        self, edge: EdgeProcess, customer: Customer, path: str = PATH, text: str = "more"
    ) -> None:
        body = {"text": text, "stream": True}
        async with (
            httpx.AsyncClient(timeout=PATIENCE_S, headers=customer.headers) as client,
            client.stream("POST", edge.url + path, json=body) as response,
        ):
            if response.status_code != 200:
                return
            self.request_id = UUID(response.headers["x-request-id"])
            name = ""
            with suppress(httpx.TransportError):  # the edge died
                async for line in response.aiter_lines():
                    if line.startswith("event: "):
                        name = line[len("event: ") :]
                    elif line.startswith("data: ") and name:
                        self.end = json.loads(line[len("data: ") :])
                    elif line.startswith("data: "):
                        self.pieces += 1


@pytest.fixture
def start(nats_url: str, database_url: str, ledger: Connection, tmp_path: Path) -> Start:
    plans = tmp_path / "plans.toml"
    plans.write_text(PLANS)

    def started(edges: int, **environment: str) -> AbstractAsyncContextManager[Fleet]:
        return fleet(
            edges,
            nats_url=nats_url,
            database_url=database_url,
            ledger=ledger,
            plans=plans,
            environment={**PATIENT, **environment},
        )

    return started


@pytest.fixture(autouse=True)
async def prepared(nats: Client) -> None:
    await streams.prepare(nats, streams.Sizes())


async def test_an_edge_that_dies_leaves_a_second_of_its_streams_unbilled(start: Start) -> None:
    async with start(2) as two:
        dead, alive = await _kill_under_streams(two)
        billed = await _billed(two.worker.nats)

        for read in dead:
            assert read.end is None
            assert 0 < read.pieces - UNBILLED <= billed[_id(read)] <= read.pieces + WINDOW
        for read in alive:
            assert read.end is not None
            assert read.end["reason"] == "length"
            assert billed[_id(read)] == read.pieces == STREAM_TOKENS


async def test_control_an_edge_that_meters_at_the_end_is_found_out(
    start: Start, tmp_path: Path
) -> None:
    async with start(2, **sabotaged(tmp_path, "meter_streams_at_their_end")) as two:
        dead, alive = await _kill_under_streams(two)
        billed = await _billed(two.worker.nats)

        assert [billed[_id(read)] for read in dead] == [0] * len(dead)
        assert all(billed[_id(read)] == read.pieces for read in alive)


async def test_streams_whose_worker_is_killed_end_with_an_error_and_are_billed_as_delivered(
    start: Start, nats_url: str, tmp_path: Path
) -> None:
    async with start(1) as one:
        reads = await _kill_the_worker(one, nats_url, tmp_path)
        billed = await _billed(one.worker.nats)

        for read in reads:
            assert read.end is not None
            assert read.end["code"] == "worker_gone"
            assert read.end["request_id"] == str(read.request_id)
            assert billed[_id(read)] == read.pieces


async def test_control_an_edge_that_bills_only_whole_streams_is_found_out(
    start: Start, nats_url: str, tmp_path: Path
) -> None:
    async with start(1, **sabotaged(tmp_path, "bill_only_whole_streams")) as one:
        reads = await _kill_the_worker(one, nats_url, tmp_path)
        billed = await _billed(one.worker.nats)

        assert [billed[_id(read)] for read in reads] == [0] * len(reads)


async def test_streams_through_all_edges_spend_a_budget_to_its_end_and_never_beyond(
    start: Start,
) -> None:
    async with start(3) as three:
        customer = await three.customer("budget")
        reads = [Read() for _ in range(9)]
        await asyncio.gather(
            *(read.go(three.edges[number % 3], customer) for number, read in enumerate(reads))
        )
        billed = await _billed(three.worker.nats)

        begun = [read for read in reads if read.request_id]
        assert len(begun) > 1
        assert {str((read.end or {}).get("reason")) for read in begun} == {"budget"}
        assert sum(read.pieces for read in begun) == billed.total()
        assert 0.9 * BUDGET <= billed.total() <= BUDGET
        # the device is free again
        await until(lambda: {_id(read) for read in begun} <= three.worker.cancelled)


async def _kill_under_streams(two: Fleet) -> tuple[Sequence[Read], Sequence[Read]]:
    """Streams through two edges, of which the first dies: its streams, and the others."""
    customer = await two.customer("default")
    reads = [Read() for _ in range(6)]
    async with asyncio.TaskGroup() as tasks:
        for number, read in enumerate(reads):
            tasks.create_task(read.go(two.edges[number % 2], customer))
        await until(lambda: all(read.pieces > 2 * UNBILLED for read in reads))
        await two.edges[0].kill()
    return reads[::2], reads[1::2]


async def _kill_the_worker(one: Fleet, nats_url: str, folder: Path) -> Sequence[Read]:
    """Streams to their end, whose worker is killed in the midst of them."""
    edge, customer = one.edges[0], await one.customer("default")

    async def listed() -> bool:
        async with httpx.AsyncClient(timeout=PATIENCE_S) as client:
            return '"scribe"' in (await client.get(f"{edge.url}/v1/models")).text

    reads = [Read() for _ in range(3)]
    async with a_worker(nats_url, folder) as worker:
        await until(listed)
        async with asyncio.TaskGroup() as tasks:
            for read in reads:
                tasks.create_task(read.go(edge, customer, "/v1/scribe/generation", ENDLESS))
            await until(lambda: all(read.pieces > 2 * WINDOW for read in reads))
            worker.kill()
    assert all(read.pieces < len(ENDLESS.split()) for read in reads)
    return reads


def _id(read: Read) -> UUID:
    assert read.request_id is not None
    return read.request_id


async def _billed(nats: Client) -> Counter[UUID]:
    """How many tokens of each stream are billed."""
    billed: Counter[UUID] = Counter()
    jetstream = nats.jetstream()
    subscription = await jetstream.subscribe(usage.SUBJECTS, ordered_consumer=True)
    for _ in range((await jetstream.stream_info(streams.USAGE)).state.messages):
        event = usage.decode((await subscription.next_msg(PATIENCE_S)).data)
        sign = -1 if isinstance(event, UsageVoided) else 1
        billed[event.data.request_id] += sign * event.data.quantities.output_tokens
    await subscription.unsubscribe()
    return billed

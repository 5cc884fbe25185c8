"""A request sent twice under one Idempotency-Key."""

import asyncio
import time
from collections import Counter
from uuid import UUID, uuid4

import httpx
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from edge.errors import StillRunning
from edge.idempotency import Claim, Idempotency
from events import streams, usage
from events.direct import Direct
from events.ids import new_id
from events.inference import Ask
from events.usage import UsageRecorded
from tests.edge.running import Edge, answered, hold, reply
from tests.waiting import PATIENCE_S, until

ECHO = {"text": "hello"}


class Counting:
    """A worker that counts what it is asked, and may be slow or broken."""

    def __init__(self) -> None:
        self.asked = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, message: Msg, ask: Ask) -> None:
        self.asked += 1
        await hold(message, self.gate)
        await reply(message, answered(ask.input))


@pytest.fixture
async def worker(edge: Edge) -> Counting:
    counting = Counting()
    await edge.serve(counting, model="good")
    return counting


async def post(client: httpx.AsyncClient, key: str, text: str = "hello") -> httpx.Response:
    headers = {"Idempotency-Key": key}
    return await client.post("/v1/good/echo", json={"text": text}, headers=headers)


async def test_a_repeat_gets_the_same_answer_and_is_billed_once(
    edge: Edge, worker: Counting
) -> None:
    async with edge.client() as client:
        first = await post(client, "k")
        second = await post(client, "k")
        other = await post(client, "another")

    assert first.status_code == second.status_code == 200
    assert first.content == second.content
    assert "idempotent-replayed" not in first.headers
    assert second.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in other.headers
    assert worker.asked == await edge.metered() == 2


async def test_another_body_is_refused_and_so_is_a_key_that_is_none(
    edge: Edge, worker: Counting
) -> None:
    async with edge.client() as client:
        await post(client, "k")
        reused = await post(client, "k", "another text")
        long = await post(client, "k" * 256)

    assert (reused.status_code, reused.json()["code"]) == (422, "idempotency_key_reused")
    assert (long.status_code, long.json()["code"]) == (400, "invalid_parameter")
    assert worker.asked == 1


async def test_while_the_first_runs_others_wait(edge: Edge, worker: Counting) -> None:
    worker.gate.clear()
    async with edge.client() as client:
        first = asyncio.create_task(post(client, "k"))
        await until(lambda: worker.asked)
        second = await post(client, "k")
        worker.gate.set()
        done = await first
        third = await post(client, "k")

    assert (second.status_code, second.json()["code"]) == (409, "still_running")
    assert second.headers["retry-after"] == "1"
    assert done.status_code == third.status_code == 200
    assert worker.asked == await edge.metered() == 1


async def test_many_at_once_are_executed_once(edge: Edge, worker: Counting) -> None:
    async with edge.client() as client:
        answers = await asyncio.gather(*[post(client, "k") for _ in range(20)])

    assert {answer.status_code for answer in answers} <= {200, 409}
    assert worker.asked == await edge.metered() == 1


async def test_a_failure_may_be_tried_again_at_once(hasty_edge: Edge) -> None:
    async with hasty_edge.client() as client:
        await hasty_edge.announce(model="good")  # and nobody serves it
        failed = await post(client, "k")
        await hasty_edge.serve(Counting(), model="good")
        again = await post(client, "k")

    assert (failed.status_code, again.status_code) == (503, 200)


async def test_a_dead_edges_claim_expires_and_keeps_its_id(
    nats: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    await streams.prepare(nats, streams.Sizes())
    direct = Direct(nats)
    await direct.start()
    account, first_id = uuid4(), new_id()
    store = Idempotency(nats, direct, claim_s=PATIENCE_S)
    dead = await store.begin(account, "k", [b"asked"], first_id)
    with pytest.raises(StillRunning):
        await store.begin(account, "k", [b"asked"], new_id())
    expired = time.time() + PATIENCE_S
    monkeypatch.setattr(time, "time", lambda: expired)

    taken_over = await store.begin(account, "k", [b"asked"], new_id())

    assert isinstance(dead, Claim)
    assert isinstance(taken_over, Claim)
    assert taken_over.request_id == first_id
    await dead.complete(b"too late")  # it was not dead: its answer is not the one that counts
    await taken_over.complete(b"the answer")
    assert await store.begin(account, "k", [b"asked"], new_id()) == b"the answer"


async def test_who_took_a_claim_over_and_fails_leaves_its_id_to_the_next(nats: Client) -> None:
    """The dead edge may have metered under it: under another one it would be billed twice."""
    await streams.prepare(nats, streams.Sizes())
    direct = Direct(nats)
    await direct.start()
    account, first_id, own_id = uuid4(), new_id(), new_id()
    store = Idempotency(nats, direct, claim_s=0.0)
    await store.begin(account, "k", [b"asked"], first_id)

    for _ in range(2):
        taken_over = await store.begin(account, "k", [b"asked"], new_id())
        assert isinstance(taken_over, Claim)
        assert taken_over.request_id == first_id
        await taken_over.release()

    own = await store.begin(account, "another", [b"asked"], own_id)
    assert isinstance(own, Claim)
    await own.release()
    anew = await store.begin(account, "another", [b"something else"], new_id())
    assert isinstance(anew, Claim)
    assert anew.request_id != own_id


@pytest.mark.usefixtures("worker")
async def test_a_taken_over_request_that_cannot_be_metered_is_voided_and_billed_anew(
    edge: Edge,
) -> None:
    """Under the dead edge's id, which is voided, the next answer would be billed to nobody."""
    body = b'{"text":"hello"}'
    direct = Direct(edge.nats)
    await direct.start()
    dead = Idempotency(edge.nats, direct, claim_s=0.0)
    first_id = new_id()
    await dead.begin(edge.account.id, "k", [b"good", b"echo", body], first_id)
    await edge.nats.jetstream().delete_stream(streams.USAGE)
    async with edge.client() as client:
        client.headers["Idempotency-Key"] = "k"
        failed = await client.post("/v1/good/echo", content=body)
        await streams.prepare(edge.nats, streams.Sizes())
        answer = await client.post("/v1/good/echo", content=body)

    assert (failed.status_code, failed.json()["code"]) == (503, "metering_unavailable")
    assert answer.status_code == 200
    await until(lambda: _metered(edge, 3))
    jetstream = edge.nats.jetstream()
    stored = [await jetstream.get_msg(streams.USAGE, number) for number in (1, 2, 3)]
    events = [usage.decode(message.data or b"") for message in stored]
    sums: Counter[UUID] = Counter()
    for event in events:
        sums[event.data.request_id] += 1 if isinstance(event, UsageRecorded) else -1
    assert sums == {first_id: 0, UUID(answer.headers["x-request-id"]): 1}


async def test_a_key_that_the_broker_does_not_take_back_is_given_back_later(nats: Client) -> None:
    """Else it expires, and whoever takes it over goes on under an id that may be voided."""
    await streams.prepare(nats, streams.Sizes())
    direct = Direct(nats)
    await direct.start()
    store = Idempotency(nats, direct, claim_s=PATIENCE_S)
    account, first_id = uuid4(), new_id()
    claim = await store.begin(account, "k", [b"asked"], first_id)
    assert isinstance(claim, Claim)
    await _take_up_to(nats, 1)
    giving_back = asyncio.create_task(store.run())

    await claim.release(voided=True)
    with pytest.raises(StillRunning):
        await store.begin(account, "k", [b"asked"], new_id())
    await _take_up_to(nats, -1)

    begun: list[Claim | bytes] = []

    async def is_free() -> bool:
        try:
            begun.append(await store.begin(account, "k", [b"asked"], new_id()))
        except StillRunning:
            return False
        return True

    await until(is_free)
    giving_back.cancel()
    (anew,) = begun
    assert isinstance(anew, Claim)
    assert anew.request_id != first_id


async def _take_up_to(nats: Client, size: int) -> None:
    """Have the bucket take messages of so many bytes only; -1: of any size."""
    jetstream = nats.jetstream()
    config = (await jetstream.stream_info(streams.IDEMPOTENCY)).config
    config.max_msg_size = size
    await jetstream.update_stream(config)


async def _metered(edge: Edge, events: int) -> bool:
    return await edge.metered() == events

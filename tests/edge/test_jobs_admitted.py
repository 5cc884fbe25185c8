"""Jobs under limits, budgets and priorities; who is told; and jobs that nobody can run."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from edge.jobs.places import Places
from events import jobs, streams
from events.ids import new_id, secret_id, time_of
from events.inference import Ask
from events.jobs import Claimed, Job, Lane
from events.streams import JOBS, job_lane
from ledger import key_format
from ledger.accounts import change_account
from ledger.budgets import set_webhook
from ledger.db import Connection
from tests.edge.running import KEY_SECRET, Edge, answered, hold, reply, running
from tests.edge.test_jobs import Counting, ask, result
from tests.waiting import PATIENCE_S, until

PLANS = """
[[plan]]
name = "default"
priority = 3
job_priority = -5

[[plan]]
name = "slow"
concurrency = 1

[[plan]]
name = "paid"
prepaid = true
prices = { requests = "1000000.00" }

[[plan]]
name = "small"

[[plan.policy]]
name = "words"
unit = "input_words"
limit = 2
window = "day"
"""


@pytest.fixture
async def planned(
    nats: Client, nats_url: str, database_url: str, ledger: Connection, tmp_path: Path
) -> AsyncIterator[Edge]:
    (tmp_path / "plans.toml").write_text(PLANS)
    files = {"plans_file": str(tmp_path / "plans.toml"), "webhooks_inside": True}
    async with running(nats, nats_url, database_url, ledger, **files) as edge:
        yield edge


async def on_plan(edge: Edge, ledger: Connection, plan: str) -> None:
    await change_account(ledger, edge.account.id, {"plan": plan})

    async def heard() -> bool:
        async with edge.client() as client:
            return bool((await client.get("/v1/limits")).json()["plan"] == plan)

    await until(heard)


async def test_jobs_have_a_priority_of_their_own(planned: Edge) -> None:
    worker = Counting()
    await planned.serve(worker, model="good")
    async with planned.client() as client:
        await client.post("/v1/good/echo", json={"text": "hello"})
        await result(client, (await ask(client)).json()["url"])

    assert [one.priority for one in worker.asked] == [3, -5]


async def test_what_a_limit_holds_up_is_tried_again(planned: Edge, ledger: Connection) -> None:
    await on_plan(planned, ledger, "slow")
    worker = Counting()
    worker.open.clear()
    await planned.serve(worker, model="good")
    async with planned.client() as client:
        first = asyncio.create_task(client.post("/v1/good/echo", json={"text": "hello"}))
        await until(lambda: worker.asked)
        url = (await ask(client)).json()["url"]
        await until(lambda: _claims(planned, 2))  # claimed, and given back
        assert (await client.get(url)).status_code == 202
        worker.open.set()
        found = await result(client, url)

    assert (await first).status_code == found["http_code"] == 200
    assert await planned.metered() == 2


async def _claims(edge: Edge, number: int) -> bool:
    info = await edge.nats.jetstream().stream_info(streams.RESULTS)
    return bool(info.state.last_seq >= number)


@pytest.mark.parametrize(("plan", "status"), [("paid", 402), ("small", 429)])
async def test_what_no_waiting_mends_is_the_result(
    planned: Edge, ledger: Connection, plan: str, status: int
) -> None:
    await on_plan(planned, ledger, plan)
    worker = Counting()
    await planned.serve(worker, model="good")
    async with planned.client() as client:
        found = await result(client, (await ask(client, "one two three")).json()["url"])

    assert (found["http_code"], found["request_id"]) == (status, None)
    assert not worker.asked
    assert await planned.metered() == 0


async def test_who_is_to_be_told_has_to_be_reachable_and_known(
    edge: Edge, ledger: Connection
) -> None:
    await edge.announce(model="good")
    async with edge.client() as client:
        unknown = await ask(client, **{"Webhook-Url": "account"})
        await set_webhook(ledger, edge.account.id, "https://example.com/hook")
        taken = await ask(client, **{"Webhook-Url": "https://example.org/hook"})
        refused = [
            await ask(client, **{"Webhook-Url": url})
            for url in ("http://example.org/", "https://10.0.0.1/", "https://[::1]/", "hook")
        ]

    assert (unknown.status_code, unknown.json()["code"]) == (409, "no_webhook")
    assert taken.status_code == 202
    assert [answer.status_code for answer in refused] == [400] * 4
    assert {answer.json()["error"]["param"] for answer in refused} == {"Webhook-Url"}


async def test_who_wants_to_be_told_is(planned: Edge, ledger: Connection) -> None:
    await set_webhook(ledger, planned.account.id, "http://127.0.0.1:1/")
    await planned.serve(Counting(), model="good")
    async with planned.client() as client:
        await result(client, (await ask(client)).json()["url"])
        taken = await ask(client, **{"Webhook-Url": "account", "Host": "mallory.example"})
        url = f"{planned.url}{urlsplit(taken.json()['url']).path}"
        await result(client, url)

    async def told() -> Sequence[Msg]:
        jetstream = planned.nats.jetstream()
        subscription = await jetstream.subscribe("completions.*", ordered_consumer=True)
        found = [await subscription.next_msg(PATIENCE_S)]
        await subscription.unsubscribe()
        return found

    [message] = await told()
    event = jobs.decode_event(message.data)
    assert event.url == f"/v1/jobs/{event.job_id}"  # what we sign, no caller has written
    assert url.endswith(event.url)
    assert event.http_code == 200
    assert (message.headers or {})[jobs.WEBHOOK] == "account"


async def a_job(edge: Edge, *, model: str = "good", lost: int = 0, path: bytes = b"") -> str:
    """A job as another edge left it; its URL."""
    job_id = secret_id()
    job = Job(
        id=job_id,
        account_id=edge.account.id,
        key_hash=key_format.digest(edge.api_key, KEY_SECRET.encode()),
        model=model,
        task="echo",
        path=path or f"/v1/async/{model}/echo".encode(),
        body=b'{"text":"hello"}',
        url=f"{edge.url}/v1/jobs/{job_id}",
        run_until=datetime.now(UTC).timestamp() + 3_600,
    )
    jetstream = edge.nats.jetstream()
    if lost:
        claimed = Claimed(request_id=new_id(), running=True, lost=lost)
        subject = jobs.result_subject(job.account_id, job.id)
        await jetstream.publish(subject, jobs.encode(claimed))
    await jetstream.publish(job.subject, jobs.encode(job))
    return job.url


async def test_a_job_whose_model_is_gone_says_so(edge: Edge) -> None:
    async with edge.client() as client:
        found = await result(client, await a_job(edge, model="gone"))

    assert found["http_code"] == 404
    assert found["error_detail"].startswith("unknown_model: ")


async def test_a_job_whose_path_nobody_serves_any_more_says_so(edge: Edge) -> None:
    async with edge.client() as client:
        found = await result(client, await a_job(edge, path=b"/v3/ask"))

    assert found["http_code"] == 404
    assert found["error_detail"].startswith("unknown_task: ")


async def test_a_job_that_kills_whoever_runs_it_is_given_up(edge: Edge) -> None:
    worker = Counting()
    await edge.serve(worker, model="good")
    async with edge.client() as client:
        once = await result(client, await a_job(edge, lost=1))
        often = await result(client, await a_job(edge, lost=4))

    assert (once["http_code"], often["http_code"]) == (200, 502)
    assert often["error_detail"].startswith("job_lost: ")
    assert len(worker.asked) == 1


async def test_what_nobody_can_read_holds_up_nothing(edge: Edge) -> None:
    await edge.serve(Counting(), model="good")
    await edge.nats.jetstream().publish(f"jobs.normal.{new_id()}.{new_id()}.m.t.1", b"nonsense")
    async with edge.client() as client:
        found = await result(client, (await ask(client)).json()["url"])

    assert found["http_code"] == 200


async def test_an_answer_that_does_not_fit_is_kept_without_its_request(edge: Edge) -> None:
    async def enlarge(message: Msg, _: Ask) -> None:
        await reply(message, answered(b'{"text":"' + b"x" * 11_800_000 + b'"}'))

    await edge.serve(enlarge, model="good")
    async with edge.client() as client:
        found = await result(client, (await ask(client, "y" * 99_999)).json()["url"])
        large = await client.post(
            "/v1/async/good/echo", content=b'{"text":"hello"' + b" " * 900_000 + b"}"
        )
        without = await result(client, large.json()["url"])

    assert len(found["request_body"]) > 99_999
    assert len(without["content"]) == len(found["content"]) > 11_800_000
    assert without["request_body"] == ""


async def test_chat_may_be_asynchronous_too(edge: Edge) -> None:
    async def chat(message: Msg, _: Ask) -> None:
        await reply(message, answered(b'{"answers":[{"text":"Hi!","reason":"stop"}]}'))

    await edge.serve(chat, model="good", task="chat")
    body: dict[str, Any] = {"model": "good", "messages": [{"role": "user", "content": "Hello!"}]}
    async with edge.client() as client:
        taken = await client.post(
            "/v1/chat/completions", json=body, headers={"Prefer": "respond-async"}
        )
        found = await result(client, taken.json()["url"])

    assert taken.status_code == 202
    assert found["http_code"] == 200, found
    assert "Hi!" in found["content"]


async def test_places_are_given_by_priority_and_one_in_four_by_age() -> None:
    places = Places(1)
    began: list[int] = []

    async def run(number: int, priority: int) -> None:
        async with places.one(str(number), priority):
            began.append(number)
            await asyncio.sleep(0)

    async with places.one("", 0):
        priorities = [-1, 1, 1, 1, 1, 0]
        waiting = [asyncio.create_task(run(*one)) for one in enumerate(priorities)]
        given_up = asyncio.create_task(run(9, 9))
        await asyncio.sleep(0)
        given_up.cancel()
    await asyncio.gather(*waiting)

    assert began == [1, 2, 3, 0, 4, 5]


async def test_an_account_has_half_of_the_places_while_others_wait() -> None:
    places = Places(4)
    greedy, other = "greedy", "other"
    began: list[str] = []
    ends: list[asyncio.Event] = []

    async def run(account: str) -> None:
        async with places.one(account, 0):
            end = asyncio.Event()
            began.append(account)
            ends.append(end)
            await end.wait()

    async with asyncio.TaskGroup() as tasks:
        for account in [*[greedy] * 8, *[other] * 3]:
            tasks.create_task(run(account))
        for count in range(4, 12):
            await until(lambda: len(began) == count)  # noqa: B023 - at once
            ends[count - 4].set()
        for end in ends:
            end.set()

    # alone it has all; then the others have theirs, and it has what they leave
    assert began[:4] == [greedy] * 4
    assert began[4:6] == [other] * 2
    assert sorted(began[6:]) == sorted([other, *[greedy] * 4])


async def test_many_slow_jobs_of_one_account_hold_up_nobody_else(
    nats: Client,
    nats_url: str,
    database_url: str,
    ledger: Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("edge.jobs.runner.PASSED_S", 0.5)
    asked: list[bytes] = []
    ends: list[asyncio.Event] = []
    answers: set[asyncio.Task[None]] = set()

    async def slow(message: Msg, ask: Ask) -> None:
        end = asyncio.Event()
        asked.append(ask.input)
        ends.append(end)

        async def answer() -> None:
            await hold(message, end)
            await reply(message, answered(ask.input))

        answers.add(asyncio.create_task(answer()))

    async with running(nats, nats_url, database_url, ledger, jobs_at_once=2) as edge:
        await edge.serve(slow, model="good")
        stranger = await edge.stranger(ledger)
        async with edge.client() as client, edge.client(Authorization=stranger) as other:
            for _ in range(12):
                await ask(client, "of many")
            await until(lambda: len(asked) == 2)
            url = (await ask(other, "the other")).json()["url"]
            await until(lambda: _all_are_looked_at(nats))
            for count in range(3, 14):
                ends[count - 3].set()
                await until(lambda: len(asked) >= count)  # noqa: B023 - at once
            for end in ends:
                end.set()
            found = await result(other, url)
            await asyncio.gather(*answers)

    assert found["http_code"] == 200
    assert b'{"text":"the other"}' in asked[:5]
    assert len(asked) == 13  # and none is lost


async def test_lanes_that_an_earlier_version_has_made_become_what_this_one_has(
    nats: Client, nats_url: str, database_url: str, ledger: Connection
) -> None:
    """With a bound on what is in hand one account's jobs would go on holding up all others."""
    await streams.prepare(nats, streams.Sizes())
    lanes = [job_lane(lane) for lane in Lane]
    for lane in lanes:
        await nats.jetstream().add_consumer(JOBS, lane.evolve(max_ack_pending=7))

    async def bounds() -> set[int | None]:
        names = [lane.durable_name or "" for lane in lanes]
        found = [await nats.jetstream().consumer_info(JOBS, name) for name in names]
        return {one.config.max_ack_pending for one in found}

    async def unbounded() -> bool:
        return await bounds() == {-1}

    assert await bounds() == {7}
    async with running(nats, nats_url, database_url, ledger):
        await until(unbounded)


async def _all_are_looked_at(nats: Client) -> bool:
    name = job_lane(Lane.NORMAL).durable_name or ""
    return not (await nats.jetstream().consumer_info(JOBS, name)).num_pending


def test_ids_of_jobs_have_their_time_and_are_in_lanes() -> None:
    before = datetime.now(UTC)
    made = [secret_id() for _ in range(1_000)]

    assert len({one.int & (2**62 - 1) for one in made}) == 1_000
    assert all(abs((time_of(one) - before).total_seconds()) < 60 for one in made)
    assert [Lane.of(one) for one in (-100, -1, 0, 1, 100)] == [
        "low",
        "low",
        "normal",
        "high",
        "high",
    ]

"""Asynchronous requests: taken, run, kept, listed, cancelled; and refused."""

import asyncio
import json
from typing import Any
from uuid import UUID

import httpx
import msgspec
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from deploy.local.nats import Nats
from edge.entry import NotWritten
from edge.jobs.records import Records
from events import streams
from events.ids import new_id
from events.inference import Ask, Failed
from events.jobs import Job
from ledger.api_keys import revoke_key
from ledger.db import Connection
from tests.edge.running import Edge, answered, hold, reply, running
from tests.waiting import until


class Counting:
    """A worker that counts what it is asked, and answers when it is let."""

    def __init__(self) -> None:
        self.asked: list[Ask] = []
        self.open = asyncio.Event()
        self.open.set()

    async def __call__(self, message: Msg, ask: Ask) -> None:
        self.asked.append(ask)
        task = asyncio.create_task(self._answer(message, ask))
        task.add_done_callback(lambda _: None)

    async def _answer(self, message: Msg, ask: Ask) -> None:
        await hold(message, self.open)
        await reply(message, answered(ask.input))


@pytest.fixture
async def worker(edge: Edge) -> Counting:
    counting = Counting()
    await edge.serve(counting, model="good")
    return counting


async def ask(client: httpx.AsyncClient, text: str = "hello", **headers: str) -> httpx.Response:
    return await client.post("/v1/async/good/echo", json={"text": text}, headers=headers)


async def result(client: httpx.AsyncClient, url: str) -> Any:
    """The result, once there is one."""

    async def finished() -> bool:
        return (await client.get(url)).status_code == 200

    await until(finished)
    return (await client.get(url)).json()


async def test_a_job_is_taken_at_once_and_its_result_kept(edge: Edge, worker: Counting) -> None:
    worker.open.clear()
    async with edge.client() as client:
        taken = await ask(client)
        url = taken.json()["url"]
        await until(lambda: worker.asked)
        waiting = await client.get(url)
        worker.open.set()
        found = await result(client, url)

    assert taken.status_code == 202
    assert url.startswith(f"{edge.url}/v1/jobs/")
    assert taken.headers["location"] == url
    assert (waiting.status_code, waiting.content) == (202, b"")
    assert found["http_code"] == 200
    assert found["error_detail"] == ""
    assert json.loads(found["content"]) == json.loads(found["request_body"]) == {"text": "hello"}
    assert found["created_on"] <= found["finished_on"]
    assert found["request_id"] == str(worker.asked[0].request_id)
    assert await edge.metered() == 1


async def test_a_job_may_also_be_preferred(edge: Edge, worker: Counting) -> None:
    assert worker.open.is_set()
    async with edge.client() as client:
        taken = await client.post(
            "/v1/good/echo", json={"text": "hello"}, headers={"Prefer": "wait=9, respond-async"}
        )
        plain = await client.post("/v1/good/echo", json={"text": "hello"})
        found = await result(client, taken.json()["url"])

    assert taken.status_code == 202
    assert taken.headers["preference-applied"] == "respond-async"
    assert plain.status_code == 200
    assert found["http_code"] == 200


async def test_where_the_result_will_be_is_said_as_the_caller_can_reach_it(
    nats: Client, nats_url: str, database_url: str, ledger: Connection
) -> None:
    async def url(host: str, **settings: object) -> str:
        async with running(nats, nats_url, database_url, ledger, **settings) as edge:
            await edge.announce(model="good")
            async with edge.client() as client:
                taken = await ask(client, Host=host)
        return str(taken.json()["url"])

    direct = await url("tollgate.test:8080", root_path="/api")
    behind = await url("inside:1", public_url="https://api.example.com/v0/")
    odd = await url("a/b")
    beyond = await url("a:65536")

    assert direct.startswith("http://tollgate.test:8080/api/v1/jobs/")
    assert behind.startswith("https://api.example.com/v0/v1/jobs/")
    assert odd.startswith("http://127.0.0.1:")
    assert beyond.startswith("http://127.0.0.1:")


async def test_what_can_be_refused_is_refused_at_once(edge: Edge, worker: Counting) -> None:
    async with edge.client() as client:
        answers = [
            await client.post("/v1/async/none/echo", json={"text": "hello"}),
            await client.post("/v1/async/good/tokens", json={"text": "hello"}),
            await client.post("/v1/async/good/echo", json={"txt": "hello"}),
            await client.post("/v1/async/good/echo", content=b"{"),
            await client.get("/v1/async/good/echo"),
            await ask(client, "x" * 2**20),
            await ask(client, Authorization="Token nonsense"),
        ]
        listed = (await client.get("/v1/jobs")).json()

    assert [answer.status_code for answer in answers] == [404, 404, 422, 400, 405, 422, 401]
    assert listed == {"data": [], "has_more": False}
    assert not worker.asked


async def test_a_body_that_is_too_large_for_a_job_is_not(
    nats: Client, nats_url: str, database_url: str, ledger: Connection
) -> None:
    settings = {"job_body_bytes": 1_024}
    async with running(nats, nats_url, database_url, ledger, **settings) as edge:
        await edge.announce(model="good")
        async with edge.client() as client:
            refused = await ask(client, "x" * 2_000)

    assert (refused.status_code, refused.json()["code"]) == (413, "body_too_large")


async def test_only_who_asked_finds_a_job(edge: Edge, worker: Counting, ledger: Connection) -> None:
    worker.open.clear()
    stranger = await edge.stranger(ledger)
    async with edge.client() as client, edge.client(Authorization=stranger) as other:
        url = (await ask(client)).json()["url"]
        await until(lambda: worker.asked)
        second = (await ask(client)).json()["url"]
        refused = [
            await other.get(url),
            await other.get(second),
            await other.delete(second),
            await client.get(f"/v1/jobs/{new_id()}"),
            await client.get("/v1/jobs/nonsense"),
        ]
        none = (await other.get("/v1/jobs")).json()["data"]
        all_ = await other.delete("/v1/jobs?state=open")
        worker.open.set()
        await result(client, url)
        late = await other.get(url)

    assert [answer.status_code for answer in (*refused, late)] == [404] * 6
    assert none == []
    assert all_.json() == {"cancelled": 0}


async def test_open_jobs_are_listed_in_pages_and_cancelled(
    nats: Client, nats_url: str, database_url: str, ledger: Connection
) -> None:
    settings = {"jobs_at_once": 1}
    worker = Counting()
    worker.open.clear()
    async with running(nats, nats_url, database_url, ledger, **settings) as edge:
        await edge.serve(worker, model="good")
        async with edge.client() as client:
            urls = [(await ask(client, str(number))).json()["url"] for number in range(6)]
            await until(lambda: worker.asked)
            first = (await client.get("/v1/jobs?state=open&limit=4")).json()
            last = first["data"][-1]["id"]
            second = (await client.get(f"/v1/jobs?limit=4&after={last}")).json()
            one = await client.delete(urls[5])
            again = await client.delete(urls[5])
            runs = await client.delete(urls[0])
            unsaid = await client.delete("/v1/jobs")
            rest = await client.delete("/v1/jobs?state=open")
            gone = await result(client, urls[3])
            worker.open.set()
            done = await result(client, urls[0])
            none = (await client.get("/v1/jobs")).json()["data"]

        metered = await edge.metered()
    ids = [job["id"] for job in first["data"] + second["data"]]
    assert ids == [url.rpartition("/")[2] for url in urls]
    assert (first["has_more"], second["has_more"]) == (True, False)
    assert first["data"][0] | {"id": "", "created_on": ""} == {
        "id": "",
        "model": "good",
        "task": "echo",
        "created_on": "",
    }
    assert (one.status_code, again.status_code, runs.status_code) == (204, 409, 409)
    assert unsaid.status_code == 400
    assert rest.json() == {"cancelled": 4}
    assert (gone["http_code"], gone["request_id"]) == (499, None)
    assert done["http_code"] == 200
    assert none == []
    assert len(worker.asked) == metered == 1


async def test_an_account_may_have_so_many_open_jobs_and_bytes(
    nats: Client, nats_url: str, database_url: str, ledger: Connection
) -> None:
    settings = {"jobs_at_once": 0, "open_jobs": 3, "open_job_bytes": 10_000}
    async with running(nats, nats_url, database_url, ledger, **settings) as edge:
        await edge.announce(model="good")
        async with edge.client() as client:
            large = [(await ask(client, "x" * 6_000)).status_code for _ in range(2)]
            small = [await ask(client) for _ in range(3)]

    assert large == [202, 429]
    assert [answer.status_code for answer in small] == [202, 202, 429]
    assert small[2].json()["code"] == "too_many_jobs"
    assert small[2].headers["retry-after"] == "5"


async def test_the_bound_holds_for_a_burst(
    nats: Client,
    nats_url: str,
    database_url: str,
    ledger: Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also where counts go stale while jobs are on their way to the queue."""
    monkeypatch.setattr("edge.jobs.store.COUNT_S", 0.05)
    settings = {"jobs_at_once": 0, "open_jobs": 10}
    async with running(nats, nats_url, database_url, ledger, **settings) as edge:
        await edge.announce(model="good")
        async with edge.client() as client:
            answers = await asyncio.gather(*[ask(client, str(number)) for number in range(100)])
            listed = (await client.get("/v1/jobs")).json()["data"]

    assert sorted(answer.status_code for answer in answers) == [202] * 10 + [429] * 90
    assert len(listed) == 10


async def test_a_repeat_with_the_same_key_is_the_same_job(edge: Edge, worker: Counting) -> None:
    async with edge.client() as client:
        first = await ask(client, **{"Idempotency-Key": "k"})
        second = await ask(client, **{"Idempotency-Key": "k"})
        other = await ask(client, "another", **{"Idempotency-Key": "k"})
        await result(client, first.json()["url"])
        third = await ask(client, **{"Idempotency-Key": "k"})

    assert first.status_code == second.status_code == third.status_code == 202
    assert first.json() == second.json() == third.json()
    assert second.headers["idempotent-replayed"] == "true"
    assert other.status_code == 422
    assert len(worker.asked) == 1


async def test_what_fails_for_good_is_the_result(edge: Edge, ledger: Connection) -> None:
    async def fail(message: Msg, _: Ask) -> None:
        await reply(message, Failed())

    await edge.serve(fail, model="bad")
    await edge.announce(model="good")
    async with edge.client() as client:
        taken = await client.post("/v1/async/bad/echo", json={"text": "hello"})
        found = await result(client, taken.json()["url"])

    assert ledger
    assert found["http_code"] == 502
    assert found["error_detail"].startswith("model_failed: ")
    assert (found["content"], found["request_id"]) == ("", None)
    assert await edge.metered() == 0


async def test_what_passes_is_waited_for(hasty_edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model that nobody serves yet."""
    monkeypatch.setattr("edge.jobs.runner.LONGEST_S", 0.2)
    worker = Counting()
    await hasty_edge.announce(model="good")
    async with hasty_edge.client() as client:
        url = (await ask(client)).json()["url"]
        await until(lambda: _given_back(hasty_edge))
        await hasty_edge.serve(worker, model="good")
        found = await result(client, url)

    assert found["http_code"] == 200
    assert await hasty_edge.metered() == 1


async def _given_back(edge: Edge) -> bool:
    info = await edge.nats.jetstream().stream_info(streams.RESULTS)
    return bool(info.state.last_seq >= 2)  # claimed, and released


async def test_a_job_that_waited_too_long_says_so(
    nats: Client, nats_url: str, database_url: str, ledger: Connection
) -> None:
    settings = {"job_s": 0.001}
    async with running(nats, nats_url, database_url, ledger, **settings) as edge:
        await edge.announce(model="good")
        async with edge.client() as client:
            found = await result(client, (await ask(client)).json()["url"])

    assert found["http_code"] == 504
    assert found["error_detail"].startswith("job_expired: ")


async def test_a_key_that_was_revoked_meanwhile_runs_nothing(
    nats: Client, nats_url: str, database_url: str, ledger: Connection
) -> None:
    async with running(nats, nats_url, database_url, ledger, jobs_at_once=0) as edge:
        await edge.announce(model="good")
        async with edge.client() as client:
            job_id = UUID((await ask(client)).json()["url"].rpartition("/")[2])
        await revoke_key(ledger, edge.key.id)
    async with running(nats, nats_url, database_url, ledger) as other:

        async def finished() -> bool:
            info = await nats.jetstream().stream_info(streams.JOBS)
            return info.state.messages == 0

        await until(finished)
        last = await nats.jetstream().get_last_msg(
            streams.RESULTS, f"results.{edge.account.id}.{job_id}"
        )
        assert await other.metered() == 0
    assert last.data is not None
    assert b"revoked_key" in last.data


async def test_a_stream_cannot_be_a_job(edge: Edge) -> None:
    await edge.announce(model="good", task="generation")
    async with edge.client() as client:
        refused = await client.post(
            "/v1/async/good/generation", json={"text": "hello", "stream": True}
        )

    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "stream")


async def test_a_repeat_after_its_edge_died_is_the_same_job(
    edge: Edge, worker: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the job and the answer to be replayed: the claim expires, and is taken over."""
    monkeypatch.setattr("edge.idempotency.Claim.complete", _die)
    monkeypatch.setattr("edge.idempotency.Claim.release", _leave)
    async with edge.client() as client:
        dead = await ask(client, **{"Idempotency-Key": "k"})
        [job] = (await client.get("/v1/jobs")).json()["data"] or [None]
        monkeypatch.undo()
        stored = await edge.nats.jetstream().get_last_msg(
            streams.IDEMPOTENCY, f"$KV.idempotency.{edge.account.id}.*"
        )
        assert stored.subject
        assert stored.data
        entry = msgspec.msgpack.decode(stored.data)
        entry[2] = 0.0  # it has expired
        await edge.nats.jetstream().publish(stored.subject, msgspec.msgpack.encode(entry))
        again = await ask(client, **{"Idempotency-Key": "k"})
        found = await result(client, again.json()["url"])

    assert dead.status_code == 500
    assert again.status_code == 202
    assert job is None or again.json()["url"].endswith(job["id"])
    assert found["http_code"] == 200
    assert len(worker.asked) == 1


async def _die(*_: object) -> None:
    raise RuntimeError


async def _leave(*_: object) -> None:
    pass


@pytest.mark.parametrize("stored", [True, False])
async def test_a_repeat_of_what_is_not_known_to_be_stored_is_the_same_job(
    nats: Client,
    nats_url: str,
    database_url: str,
    ledger: Connection,
    monkeypatch: pytest.MonkeyPatch,
    *,
    stored: bool,
) -> None:
    worker = Counting()
    tried: list[Job] = []
    add = Records.add

    async def add_unheard(self: Records, job: Job) -> None:
        tried.append(job)
        if stored and len(tried) == 1:
            await add(self, job)
        raise NotWritten

    settings = {"publish_timeout_s": 0.5}
    async with running(nats, nats_url, database_url, ledger, **settings) as edge:
        await edge.serve(worker, model="good")
        async with edge.client() as client:
            monkeypatch.setattr(Records, "add", add_unheard)
            refused = [await ask(client, **{"Idempotency-Key": "k"})]
            if stored:
                await until(lambda: worker.asked)
            else:
                refused.append(await ask(client, **{"Idempotency-Key": "k"}))
            monkeypatch.setattr(Records, "add", add)
            url = (await ask(client, **{"Idempotency-Key": "k"})).json()["url"]
            found = await result(client, url)
            await until(lambda: _no_jobs(client))
        metered = await edge.metered()

    assert {answer.status_code for answer in refused} == {503}
    assert "the same key" in refused[0].json()["message"]
    assert {url.rpartition("/")[2]} == {str(job.id) for job in tried}
    assert found["http_code"] == 200
    assert len(worker.asked) == metered == 1


async def test_a_job_that_is_not_known_to_be_stored_is_refused_and_never_runs(
    nats_server: Nats, nats_url: str, database_url: str, ledger: Connection, nats: Client
) -> None:
    worker = Counting()
    settings = {"publish_timeout_s": 0.5}
    async with running(nats, nats_url, database_url, ledger, **settings) as edge:
        await edge.serve(worker, model="good")
        async with edge.client() as client, asyncio.TaskGroup() as tasks:
            # so that its key, and how many jobs it has, are known
            await result(client, (await ask(client)).json()["url"])
            nats_server.stop()
            refused = tasks.create_task(ask(client))
            await asyncio.wait({refused})
            await asyncio.to_thread(nats_server.start)

            async def taken() -> bool:
                return (await ask(client, "later")).status_code == 202

            await until(taken)
            await until(lambda: _no_jobs(client))

    assert refused.result().status_code == 503
    assert "will not run" in refused.result().json()["message"]
    assert [one.input for one in worker.asked] == [b'{"text":"hello"}', b'{"text":"later"}']


async def _no_jobs(client: httpx.AsyncClient) -> bool:
    answer = await client.get("/v1/jobs")
    return answer.status_code == 200 and not answer.json()["data"]

"""Each process does its work under its user on the broker, and can do nothing else."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import pytest

from consumers.app import create_app as create_consumers
from consumers.settings import Settings as ConsumerSettings
from deploy.errors import ServerUnavailable
from deploy.local.nats import Nats
from events import streams, usage
from inference.app import create_app as create_worker
from inference.settings import Settings as WorkerSettings
from ledger.accounts import change_account
from ledger.budgets import set_webhook
from ledger.db import Connection
from tests.consumers.pipeline import SMALL, Pipeline
from tests.deploy.guarded import Person, Refused, broker, person, url, violations
from tests.edge.running import running
from tests.edge.test_bad_input import signed
from tests.usage import a_usage, recorded
from tests.waiting import PATIENCE_S, until

READER: Final = "usage_reader"
STREAMS: Final = tuple(str(config.name) for config in streams.configs(streams.Sizes()))


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Nats]:
    with broker(tmp_path / "guarded", monkeypatch) as started:
        yield started


@pytest.fixture
async def operator(server: Nats) -> AsyncIterator[Person]:
    """One that has made the streams, with something in them, and every consumer."""
    async with person(server, "operator", "tollgate-operator") as operator:
        jetstream = operator.client.jetstream()
        await streams.prepare(operator.client, SMALL)
        await jetstream.add_consumer(streams.USAGE, streams.usage_fold())
        await jetstream.add_consumer(streams.STRIPE, streams.stripe_journal())
        await jetstream.add_consumer(streams.BUDGETS, streams.budget_webhooks())
        await jetstream.add_consumer(
            streams.USAGE, streams.subscriber(READER, [usage.subjects(task="echo")])
        )
        for _ in range(3):
            event = recorded(a_usage())
            await jetstream.publish(usage.subject(event.data), usage.encode(event))
        yield operator


@pytest.fixture
async def reader(server: Nats) -> AsyncIterator[Person]:
    async with person(server, READER) as reader:
        yield reader


async def test_a_reader_takes_events_and_acknowledges_them(
    operator: Person, reader: Person, server: Nats
) -> None:
    jetstream = reader.client.jetstream(prefix="tollgate")
    subscription = await jetstream.pull_subscribe("usage.v1.>", READER, streams.USAGE)

    messages = await subscription.fetch(10)
    for message in messages:
        await message.ack()

    assert [usage.decode(message.data).data.task for message in messages] == ["echo"] * 3

    async def settled() -> bool:
        info = await operator.client.jetstream().consumer_info(streams.USAGE, READER)
        return bool(info.num_ack_pending == info.num_pending == 0)

    await until(settled)
    assert not violations(server)


# --- what a reader must not do, and an operator can ---------------------------------

SUBJECTS: Final = (
    "usage.v1.a.m.t",
    "inference.echo.echo",
    "cancel.x",
    "accounts.x",
    "stripe.x",
    "parked.x",
    "budgets.x",
    "models.echo.x",
    "rates.x",
    "limits.x",
    "quotas.x",
    "$KV.idempotency.x",
    "_INBOX.tollgate-edge.x",
)


@pytest.mark.parametrize("subject", SUBJECTS)
async def test_a_reader_can_say_nothing_to_anybody(
    operator: Person, reader: Person, subject: str
) -> None:
    heard = await operator.listens(subject)

    with pytest.raises(Refused, match=r"(?i)permissions violation for publish"):
        await reader.says(subject)
    await operator.says(subject, b"the operator's")

    assert (await heard.next_msg(PATIENCE_S)).data == b"the operator's"


@pytest.mark.parametrize("subject", [*SUBJECTS, "usage.v1.>", "inference.>", "accounts.>", ">"])
async def test_a_reader_hears_nothing_that_is_not_sent_to_it(
    operator: Person, reader: Person, subject: str
) -> None:
    said = subject.replace(">", "x")
    heard = await operator.listens(subject)
    if subject.startswith("_INBOX."):
        mine = await reader.listens(subject)  # it may: the inboxes of its own account
    else:
        with pytest.raises(Refused, match=r"(?i)permissions violation for subscription"):
            await reader.listens(subject)

    await operator.says(said)

    assert (await heard.next_msg(PATIENCE_S)).subject == said
    if subject.startswith("_INBOX."):
        await reader.client.flush()
        assert mine.pending_msgs == 0


def consumer(name: str, stream: str = streams.USAGE, **config: object) -> dict[str, object]:
    return {"stream_name": stream, "config": {"name": name, "ack_policy": "explicit", **config}}


QUESTIONS: Final[list[tuple[str, object]]] = [
    # what there is
    ("$SYS.REQ.USER.INFO", None),
    ("$SYS.REQ.ACCOUNT.PING.CONNZ", {}),
    ("$JS.API.INFO", None),
    ("$JS.API.STREAM.NAMES", None),
    ("$JS.API.STREAM.LIST", None),
    ("$JS.API.CONSUMER.NAMES.USAGE", None),
    ("$JS.API.CONSUMER.LIST.USAGE", None),
    *[(f"$JS.API.STREAM.INFO.{stream}", None) for stream in STREAMS],
    # what streams say, past any consumer
    ("$JS.API.STREAM.MSG.GET.USAGE", {"seq": 1}),
    *[(f"$JS.API.DIRECT.GET.{stream}", {"multi_last": [">"]}) for stream in STREAMS],
    # the fold's consumer
    ("$JS.API.CONSUMER.INFO.USAGE.usage_fold", None),
    ("$JS.API.CONSUMER.MSG.NEXT.USAGE.usage_fold", {"batch": 1, "no_wait": True}),
    ("$JS.API.CONSUMER.PAUSE.USAGE.usage_fold", {}),
    # a consumer of one's own: on another stream, under another name, with another filter, ...
    *[(f"$JS.API.CONSUMER.CREATE.{stream}.mine", consumer("mine", stream)) for stream in STREAMS],
    (
        "$JS.API.CONSUMER.CREATE.USAGE",
        {"stream_name": "USAGE", "config": {"ack_policy": "explicit"}},
    ),
    (
        "$JS.API.CONSUMER.DURABLE.CREATE.USAGE.legacy",
        consumer("legacy", durable_name="legacy"),
    ),
    (
        f"$JS.API.CONSUMER.CREATE.USAGE.{READER}",
        consumer(READER, durable_name=READER, filter_subjects=["usage.v1.>"]),
    ),
    (
        f"$JS.API.CONSUMER.CREATE.USAGE.{READER}2.usage.v1.>",
        consumer(f"{READER}2", durable_name=f"{READER}2", filter_subject="usage.v1.>"),
    ),
    # ... and one that has the broker speak to a worker
    (
        "$JS.API.CONSUMER.CREATE.USAGE.push",
        consumer("push", durable_name="push", deliver_subject="inference.echo.echo"),
    ),
    # a stream of one's own
    (
        "$JS.API.STREAM.CREATE.MINE",
        {"name": "MINE", "storage": "memory", "sources": [{"name": "USAGE"}]},
    ),
    # and less of ours
    ("$JS.API.STREAM.UPDATE.BUDGETS", {"name": "BUDGETS", "subjects": ["budgets.>"]}),
    ("$JS.API.STREAM.MSG.DELETE.USAGE", {"seq": 1}),
    ("$JS.API.STREAM.PURGE.USAGE", None),
    (f"$JS.API.CONSUMER.DELETE.USAGE.{READER}", None),
    ("$JS.API.CONSUMER.DELETE.USAGE.usage_fold", None),
    *[(f"$JS.API.STREAM.DELETE.{stream}", None) for stream in STREAMS],
]


async def test_a_reader_can_ask_the_broker_for_nothing_else(
    operator: Person, reader: Person
) -> None:
    before = await _state(operator)
    for subject, question in QUESTIONS:
        with pytest.raises(Refused):
            await reader.asks(subject, question)
        with pytest.raises(Refused):  # nor under the prefix of what it may
            await reader.asks(subject.replace("$JS.API.", "tollgate."), question)

    assert await _state(operator) == before

    for subject, question in QUESTIONS:  # the same, in this order, is possible
        answer = await operator.asks(subject, question)
        refusal = {"error"} & (json.loads(answer.data or b"{}").keys())
        assert not refusal, (subject, answer.data)


async def _state(operator: Person) -> Any:
    """All that a reader could have changed."""
    jetstream = operator.client.jetstream()
    return [
        (
            info.config.name,
            info.state.messages,
            info.state.last_seq,
            [
                (one.name, one.config, one.num_pending, one.num_ack_pending)
                for one in await jetstream.consumers_info(str(info.config.name))
            ],
        )
        for info in await jetstream.streams_info()
    ]


async def test_a_reader_cannot_acknowledge_what_the_fold_was_given(
    operator: Person, reader: Person
) -> None:
    async def in_hand(messages: int) -> bool:
        info = await operator.client.jetstream().consumer_info(streams.USAGE, "usage_fold")
        return bool(info.num_ack_pending == messages)

    given = await operator.asks("$JS.API.CONSUMER.MSG.NEXT.USAGE.usage_fold", {"batch": 1})
    assert given.reply.startswith("$JS.ACK.USAGE.usage_fold.")

    with pytest.raises(Refused):
        await reader.says(given.reply, b"+ACK")
    assert await in_hand(1)

    await operator.says(given.reply, b"+ACK")
    await until(lambda: in_hand(0))


async def test_a_reader_cannot_have_the_broker_speak_for_it(
    operator: Person, reader: Person
) -> None:
    """A fetch says where its messages go: the reader's go nowhere that is ours."""
    jetstream = operator.client.jetstream()
    fetch = f"CONSUMER.MSG.NEXT.USAGE.{READER}"

    async def stored(stream: str) -> int:
        return int((await jetstream.stream_info(stream)).state.messages)

    await reader.says(f"tollgate.{fetch}", b'{"batch": 1}', reply="stripe.x")
    # taken up after the reader's: the broker answers a consumer's fetches one by one
    await operator.says(f"$JS.API.{fetch}", b'{"batch": 1}', reply="parked.x")
    await until(lambda: stored(streams.PARKED))

    assert await stored(streams.STRIPE) == 0


@pytest.mark.parametrize(
    "imported",
    [
        "$JS.API.CONSUMER.INFO.USAGE.usage_reader",
        "$JS.API.CONSUMER.MSG.NEXT.USAGE.usage_reader",
        "$JS.ACK.USAGE.usage_reader.>",
    ],
)
def test_a_file_that_gives_one_the_consumer_of_another_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, imported: str
) -> None:
    mine = f'subject: "{imported}"'
    theirs = mine.replace("usage_reader", "usage_fold")
    server = broker(tmp_path / "bad", monkeypatch, lambda text: text.replace(mine, theirs))

    with pytest.raises(ServerUnavailable):
        server.start()

    assert "not authorized" in (server.home / "server.log").read_text()


def test_without_a_password_the_broker_does_not_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = broker(tmp_path / "bad", monkeypatch)
    monkeypatch.delenv("NATS_EDGE_PASSWORD")

    with pytest.raises(ServerUnavailable):
        server.start()


# --- the product under its users ----------------------------------------------------

PLANS: Final = """
[[plan]]
name = "default"
concurrency = 10
monthly_budget = "100.00"
prices = { requests = "1.00" }

[[plan.policy]]
name = "minute"
unit = "requests"
limit = 10_000
window = "minute"

[[plan.policy]]
name = "hour"
unit = "requests"
limit = 900
window = "hour"

[[plan.policy]]
name = "words"
unit = "input_words"
limit = 100_000
window = "day"
"""
ECHO: Final = '[[model]]\nname = "echo"\nsource = "echo:"\ntasks = ["echo"]\n'


async def test_the_product_does_its_work_under_its_users(
    server: Nats, operator: Person, ledger: Connection, database_url: str, tmp_path: Path
) -> None:
    (tmp_path / "plans.toml").write_text(PLANS)
    (tmp_path / "models.toml").write_text(ECHO)
    consumers = create_consumers(
        ConsumerSettings(
            nats_url=url(server, "consumers"),
            database_url=database_url,
            linger_s=0.01,
            audit_s=0.2,
            webhooks_inside=True,
        )
    )
    worker = create_worker(
        WorkerSettings(
            nats_url=url(server, "worker"), models_file=str(tmp_path / "models.toml"), drain_s=5
        )
    )
    pipeline = Pipeline(operator.client, ledger, server.url, database_url)
    stop = asyncio.Event()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(asyncio.timeout(2 * PATIENCE_S))
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        stack.callback(stop.set)
        tasks.create_task(consumers.run(stop))
        tasks.create_task(worker.run(stop))
        edge = await stack.enter_async_context(
            running(
                operator.client,
                url(server, "edge"),
                database_url,
                ledger,
                plans_file=str(tmp_path / "plans.toml"),
            )
        )
        client = await stack.enter_async_context(edge.client())

        async def post(number: int) -> int:
            key = {"Idempotency-Key": str(number)} if number % 2 else {}
            answer = await client.post("/v1/echo/echo", json={"text": "hello"}, headers=key)
            return answer.status_code

        async def served() -> bool:
            return '"running":true' in (await client.get("/v1/models")).text

        await until(served)
        answers = await asyncio.gather(*map(post, range(10)))
        await change_account(ledger, edge.account.id, {"concurrency": 1})  # announced
        replay = await post(1)
        hook = await set_webhook(ledger, edge.account.id, edge.url)  # it answers 404
        job = await client.post(
            "/v1/async/echo/echo", json={"text": "hello"}, headers={"Webhook-Url": "account"}
        )

        async def finished() -> bool:
            return (await client.get(job.json()["url"])).status_code == 200

        await until(finished)
        open_jobs = await client.get("/v1/jobs")
        body = json.dumps(
            {"id": "evt_1", "type": "a.b", "created": 1, "data": {"object": {}}}
        ).encode()
        taken = await client.post("/webhooks/stripe", content=body, headers=signed(body))
        await operator.says("stripe.unreadable", b"nonsense")
        await pipeline.until_settled()
        await pipeline.until_settled(streams.STRIPE)
        parked = await pipeline.parked()
        await until(lambda: _has(operator, streams.AUDITS))
        await until(lambda: _taken(operator))
    counted = await _has(operator, streams.EDGES)  # said when it left

    assert counted
    assert (answers, replay, taken.status_code) == ([200] * 10, 200, 202)
    assert hook
    assert open_jobs.status_code == 200
    totals = "SELECT sum(requests)::int FROM usage_totals WHERE account_id = $1"
    assert await ledger.fetchval(totals, edge.account.id) == 11
    assert len(parked) == 1
    assert not violations(server)


async def _taken(operator: Person) -> bool:
    """Whether a webhook was tried."""
    info = await operator.client.jetstream().consumer_info(streams.COMPLETIONS, "job_webhooks")
    return bool(info.delivered and info.delivered.consumer_seq)


async def _has(operator: Person, stream: str) -> bool:
    info = await operator.client.jetstream().stream_info(stream)
    return info.state.messages > 0


async def test_a_permission_that_is_missing_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control of the test above: its worker, under a file that lacks one line."""
    (tmp_path / "models.toml").write_text(ECHO)
    allowed = 'publish { allow [\n          "models.>"\n'
    with broker(
        tmp_path / "lacking", monkeypatch, lambda text: text.replace(allowed, "publish { allow [\n")
    ) as server:
        async with person(server, "operator") as operator:
            await streams.prepare(operator.client, SMALL)
        worker = create_worker(
            WorkerSettings(
                nats_url=url(server, "worker"), models_file=str(tmp_path / "models.toml")
            )
        )
        stop = asyncio.Event()
        async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as tasks:
            tasks.create_task(worker.run(stop))
            await until(lambda: violations(server))
            stop.set()

        assert "models.echo" in violations(server)[0]


MAY: Final = (  # what the test above does not come to
    ("edge", "cancel.x", "worker", "cancel.*"),
    ("edge", "_INBOX.tollgate-worker.x", "worker", "_INBOX.tollgate-worker.*"),
    ("worker", "_INBOX.tollgate-edge.x", "edge", "_INBOX.tollgate-edge.*"),
    ("worker", "models.echo.x", "edge", "models.>"),
    ("consumers", "accounts.x", "edge", "accounts.>"),
    ("consumers", "budgets.x", "operator", "budgets.>"),
    ("consumers", "stripe.x", "operator", "stripe.>"),
)


@pytest.mark.parametrize(("speaker", "said", "listener", "heard"), MAY)
async def test_processes_reach_each_other(
    server: Nats, speaker: str, said: str, listener: str, heard: str
) -> None:
    async with person(server, speaker) as speaking, person(server, listener) as listening:
        subscription = await listening.listens(heard)
        await speaking.says(said)

        assert (await subscription.next_msg(PATIENCE_S)).subject == said


@pytest.mark.parametrize(
    ("user", "subject", "question"),
    [
        ("edge", "CONSUMER.INFO.USAGE.usage_fold", None),
        ("edge", "STREAM.PURGE.RATES", {"filter": "rates.x"}),
        ("edge", "STREAM.PURGE.LIMITS", {"filter": "limits.x"}),
        ("edge", "STREAM.PURGE.QUOTAS", {"filter": "quotas.x"}),
        ("edge", "STREAM.PURGE.JOBS", {"filter": "jobs.x"}),
        ("consumers", "STREAM.PURGE.QUOTAS", {"filter": "quotas.x"}),
    ],
)
async def test_processes_get_answers(
    server: Nats, operator: Person, user: str, subject: str, question: object
) -> None:
    assert operator  # has made the streams
    async with person(server, user, f"tollgate-{user}") as somebody:
        answer = await somebody.asks(f"$JS.API.{subject}", question)

    assert "error" not in json.loads(answer.data)


@pytest.mark.parametrize(
    ("user", "said"),
    [
        ("worker", "usage.v1.a.m.t"),
        ("worker", "accounts.x"),
        ("worker", "inference.echo.echo"),
        ("worker", "rates.x"),
        ("worker", "$JS.API.STREAM.INFO.USAGE"),
        ("worker", "$JS.API.DIRECT.GET.ACCOUNTS"),
        ("consumers", "usage.v1.a.m.t"),
        ("consumers", "quotas.x"),
        ("consumers", "jobs.x"),
        ("consumers", "results.x"),
        ("worker", "jobs.x"),
        ("worker", "results.x"),
        ("consumers", "inference.echo.echo"),
        ("consumers", "$JS.API.STREAM.PURGE.USAGE"),
        ("consumers", "$JS.API.CONSUMER.DELETE.USAGE.usage_fold"),
        ("edge", "accounts.x"),
        ("edge", "models.echo.x"),
        ("edge", "$JS.API.STREAM.PURGE.USAGE"),
        ("edge", "$JS.API.CONSUMER.MSG.NEXT.USAGE.usage_fold"),
        ("edge", "$JS.API.CONSUMER.CREATE.ACCOUNTS.mine"),
        ("edge", "$JS.API.STREAM.CREATE.MINE"),
    ],
)
async def test_processes_say_nothing_that_is_not_theirs(server: Nats, user: str, said: str) -> None:
    async with person(server, user) as somebody:
        with pytest.raises(Refused):
            await somebody.says(said)


@pytest.mark.parametrize(
    ("user", "subject"),
    [
        ("worker", "usage.v1.>"),
        ("worker", "inference.>"),  # without the group: what others are asked
        ("worker", "_INBOX.tollgate-edge.>"),
        ("worker", "accounts.>"),
        ("consumers", "inference.>"),
        ("consumers", "_INBOX.>"),
        ("edge", "inference.>"),
        ("edge", "usage.v1.>"),
        ("edge", "_INBOX.>"),
    ],
)
async def test_processes_hear_nothing_that_is_not_theirs(
    server: Nats, user: str, subject: str
) -> None:
    async with person(server, user) as somebody:
        with pytest.raises(Refused):
            await somebody.listens(subject)

"""A worker on a real broker, as an edge sees it."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import NoRespondersError
from nats.js.errors import NotFoundError

from deploy.local.nats import Nats
from events import broker, inference, models, streams
from events.errors import StreamMissing
from events.inference import Answered, Ask, Busy, Expired, Failed, Refused, Reply, Working
from events.models import Limits, ModelAnnounced
from events.tasks import echo
from inference.app import Worker, create_app
from inference.batch_pipeline import BatchPipeline
from inference.consumer import Consumer
from inference.errors import ModelUnfit
from inference.settings import Settings
from tests.inference.conftest import MODELS_FILE
from tests.inference.scripted import Scripted, an_ask
from tests.system.system import sabotaged
from tests.waiting import PATIENCE_S, until


async def ask(client: Client, model: str, question: Ask, *, task: str = "echo") -> Reply:
    """The last reply to a request, past all signs of life."""
    async with asyncio.timeout(PATIENCE_S):
        return (await replies(client, model, question, task=task))[-1]


async def replies(client: Client, model: str, question: Ask, *, task: str = "echo") -> list[Reply]:
    inbox = client.new_inbox()
    subscription = await client.subscribe(inbox)
    await client.publish(inference.subject(model, task), inference.encode(question), reply=inbox)
    heard: list[Reply] = []
    while not heard or isinstance(heard[-1], Working):
        message = await subscription.next_msg(PATIENCE_S)
        if message.headers:
            raise NoRespondersError
        heard.append(inference.decode_reply(message.data))
    await subscription.unsubscribe()
    return heard


def settings(nats_url: str, served: str = "echo") -> Settings:
    return Settings(nats_url=nats_url, models_file=str(MODELS_FILE), models=served)


@asynccontextmanager
async def a_worker(client: Client, worker: Worker) -> AsyncIterator[asyncio.Event]:
    """Runs until the end, or until the event that it yields is set."""
    stop = asyncio.Event()
    announced = await listening(client)
    async with asyncio.timeout(2 * PATIENCE_S), asyncio.TaskGroup() as group:
        group.create_task(worker.run(stop))
        await announced.get()
        yield stop
        stop.set()


async def listening(client: Client) -> "asyncio.Queue[ModelAnnounced]":
    heard: asyncio.Queue[ModelAnnounced] = asyncio.Queue()

    async def hear(message: Msg) -> None:
        heard.put_nowait(models.decode(message.data))

    await client.subscribe(models.SUBJECTS, cb=hear)
    await client.flush()
    return heard


@asynccontextmanager
async def a_scripted_worker(nats_url: str, limits: Limits | None = None) -> AsyncIterator[Scripted]:
    """The worker's side of the wire around a scripted model."""
    connected = await broker.connect(nats_url, "scripted")
    consumer, model = Consumer(connected), Scripted()
    pipeline = BatchPipeline(model, limits or Limits(), consumer.answer)
    try:
        async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as group:
            running = [
                group.create_task(pipeline.serve()),
                group.create_task(consumer.heartbeats()),
            ]
            await consumer.listen()
            await consumer.subscribe("scripted", [echo.TASK], pipeline)
            yield model
            model.gate.set()
            for task in running:
                task.cancel()
    finally:
        await connected.close()


async def test_a_worker_answers_what_it_is_asked(client: Client, nats_url: str) -> None:
    async with a_worker(client, create_app(settings(nats_url))):
        reply = await ask(client, "echo", an_ask("Is anybody there?"))

    assert isinstance(reply, Answered)
    assert echo.TASK.decode_result(reply.result).text == "Is anybody there?"
    assert reply.quantities.input_words == reply.quantities.output_words == 3
    assert reply.quantities.input_characters == reply.quantities.output_characters == 17


async def test_the_shipped_models_are_announced_and_answer(client: Client, nats_url: str) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("spacy")
    worker = create_app(settings(nats_url, ""))
    question = an_ask("Ada Lovelace met Charles Babbage in London.")
    async with a_worker(client, worker):
        reply = await ask(client, "en_core_web_sm", question, task="entities")

    assert isinstance(reply, Answered)
    assert b'"PERSON"' in reply.result
    assert min(reply.timing.tokenize_ms, reply.timing.compute_ms) > 0


async def test_a_worker_says_what_it_serves_and_that_it_leaves(
    client: Client, nats_url: str
) -> None:
    heard = await listening(client)
    async with a_worker(client, create_app(settings(nats_url))):
        come = await heard.get()
    async with asyncio.timeout(PATIENCE_S):
        while (gone := await heard.get()).until > time.time():
            pass

    assert come.model.name == "echo"
    assert come.until > time.time()
    assert gone.worker_id == come.worker_id
    assert gone.until < time.time()
    last = await client.jetstream().get_last_msg(streams.MODELS, models.subject(gone))
    assert last.data is not None
    assert models.decode(last.data) == gone


async def test_after_an_outage_a_worker_speaks_up_at_once_and_answers(
    client: Client, nats_server: Nats
) -> None:
    heard = await listening(client)
    async with a_worker(client, create_app(settings(nats_server.url))):
        before = await heard.get()

        nats_server.stop()
        back_at = time.time()
        nats_server.start()
        async with asyncio.timeout(PATIENCE_S):
            while (after := await heard.get()).until < back_at + models.HOLD_S:
                pass  # from before the outage

        assert after.worker_id == before.worker_id
        assert isinstance(await ask(client, "echo", an_ask("back again?")), Answered)


async def test_a_worker_that_stops_under_load_answers_everyone(
    client: Client, nats_url: str
) -> None:
    counts = {"answered": 0, "busy": 0, "nobody": 0}
    last: list[type] = []
    async with a_worker(client, create_app(settings(nats_url))) as stop:

        async def caller() -> None:
            while not counts["nobody"]:
                data = inference.encode(an_ask("under load"))
                try:
                    message = await client.request("inference.echo.echo", data, timeout=PATIENCE_S)
                except NoRespondersError:
                    counts["nobody"] += 1
                    return
                reply = inference.decode_reply(message.data)
                if isinstance(reply, Busy) and reply.queued:
                    continue  # before its first batch it knows no pace, and takes little
                counts["answered" if isinstance(reply, Answered) else "busy"] += 1
                last.append(type(reply))
                if counts["answered"] > 500:
                    stop.set()

        async with asyncio.TaskGroup() as callers:  # a reply that is lost is a timeout here
            for _ in range(32):
                callers.create_task(caller())

    assert counts["answered"] > 500
    assert set(last) == {Answered, Busy}
    assert last.index(Busy) > 500


async def test_another_worker_takes_over_what_the_leaving_one_sends_away(
    client: Client, nats_url: str
) -> None:
    async with (
        a_worker(client, create_app(settings(nats_url))),
        a_worker(client, create_app(settings(nats_url))) as stop,
    ):
        stop.set()
        for _ in range(200):
            reply: Reply = Busy(queued=0, wait_ms=0)
            while isinstance(reply, Busy):
                message = await client.request(
                    "inference.echo.echo", inference.encode(an_ask("again")), timeout=PATIENCE_S
                )
                reply = inference.decode_reply(message.data)
            assert isinstance(reply, Answered)


async def test_a_worker_whose_model_hangs_ends_when_its_drain_does(
    client: Client, nats_url: str, tmp_path: Path
) -> None:
    heard = await listening(client)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "deploy.cli",
        "worker",
        "--models=echo",
        env={
            **os.environ,
            **sabotaged(tmp_path, "hang_in_the_model"),
            "TOLLGATE_NATS_URL": nats_url,
            "TOLLGATE_MODELS_FILE": str(MODELS_FILE),
            "TOLLGATE_DRAIN_S": "0.5",
        },
    )
    try:
        await heard.get()
        hung = asyncio.create_task(ask(client, "echo", an_ask("never answered")))
        await until((tmp_path / "reached").exists)
        waiting = asyncio.create_task(ask(client, "echo", an_ask("not begun")))
        await client.flush()

        process.terminate()

        assert isinstance(await waiting, Busy)
        async with asyncio.timeout(PATIENCE_S):
            assert await process.wait() == 0
        assert not hung.done()
        hung.cancel()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_a_full_worker_says_so(client: Client, nats_url: str) -> None:
    async with a_scripted_worker(nats_url, Limits(queue=1)) as model:
        model.gate.clear()
        taken = asyncio.create_task(ask(client, "scripted", an_ask("taken")))
        await model.has_begun()

        reply = await ask(client, "scripted", an_ask("one too many"))

        assert isinstance(reply, Busy)
        assert reply.queued == 1
        model.gate.set()
        assert isinstance(await taken, Answered)


async def test_one_that_waits_long_hears_that_it_is_not_in_vain(
    client: Client, nats_url: str
) -> None:
    async with a_scripted_worker(nats_url) as model:
        quick = await replies(client, "scripted", an_ask("quick"))
        model.gate.clear()
        heard = client.new_inbox()
        subscription = await client.subscribe(heard)
        await client.publish(
            "inference.scripted.echo", inference.encode(an_ask("slow")), reply=heard
        )

        sign = await subscription.next_msg(PATIENCE_S)

        assert inference.decode_reply(sign.data) == Working()
        assert [type(reply) for reply in quick] == [Answered]
        model.gate.set()
        answer = await subscription.next_msg(PATIENCE_S)
        assert isinstance(inference.decode_reply(answer.data), Answered | Working)


async def test_every_outcome_reaches_its_caller(client: Client, nats_url: str) -> None:
    async with a_scripted_worker(nats_url):
        late = an_ask("late", deadline=time.time() - 1)
        assert await ask(client, "scripted", late) == Expired()
        assert await ask(client, "scripted", an_ask("poison")) == Failed()
        assert await ask(client, "scripted", an_ask("rude")) == Refused(
            "rude", "Mind your manners.", 422, "text"
        )


@pytest.mark.parametrize("body", [b"{", b'{"text": 7}', b'{"texts": "?"}', b'{"text": "\xff"}'])
async def test_an_input_of_the_wrong_shape_is_refused(
    client: Client, nats_url: str, body: bytes
) -> None:
    question = an_ask("?")
    wrong = Ask(question.request_id, question.account_id, question.deadline, body)
    async with a_scripted_worker(nats_url):
        reply = await ask(client, "scripted", wrong)

    assert isinstance(reply, Refused)
    assert reply.code == "invalid_input"


async def test_noise_on_the_wire_harms_nobody(client: Client, nats_url: str) -> None:
    async with a_scripted_worker(nats_url):
        for noise in (b"", b"\x00", b"{}", b"\xc1" * 100):
            await client.publish("inference.scripted.echo", noise, reply=client.new_inbox())
        await client.publish("inference.scripted.echo", inference.encode(an_ask("no inbox")))

        assert isinstance(await ask(client, "scripted", an_ask("still there?")), Answered)


async def test_an_answer_too_large_for_the_broker_is_refused(client: Client, nats_url: str) -> None:
    async with a_scripted_worker(nats_url) as model:
        model.swell = client.max_payload

        reply = await ask(client, "scripted", an_ask("small"))

    assert isinstance(reply, Refused)
    assert reply.code == "answer_too_large"


async def test_a_worker_without_streams_says_what_to_run(nats_url: str) -> None:
    with pytest.raises(StreamMissing, match="tollgate migrate"):
        await create_app(settings(nats_url)).run(asyncio.Event())


async def test_a_worker_told_to_stop_before_its_models_are_loaded_just_leaves(
    client: Client, nats_url: str
) -> None:
    stop = asyncio.Event()
    stop.set()

    await create_app(settings(nats_url)).run(stop)

    with pytest.raises(NotFoundError):
        await client.jetstream().get_last_msg(streams.MODELS, "models.>")


def test_models_are_chosen_by_name() -> None:
    with pytest.raises(ModelUnfit, match="'nobody': is not declared"):
        create_app(settings("nats://127.0.0.1", "echo, nobody"))


def test_a_task_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "models.toml"
    file.write_text('[[model]]\nname = "odd"\nsource = "echo:"\ntasks = ["echo", "levitate"]\n')

    with pytest.raises(ModelUnfit, match="no task 'levitate'"):
        create_app(Settings(nats_url="nats://127.0.0.1", models_file=str(file)))

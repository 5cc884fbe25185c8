"""Streams over a real broker, as an edge sees them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from msgspec.structs import replace
from nats.aio.client import Client
from nats.aio.msg import Msg

from events import broker, inference
from events.inference import WINDOW, Answered, Ask, Chunk, Ended, Expired, Refused, Reply, Working
from events.models import Limits
from events.tasks import generation
from events.tasks.generation import GenerationInput
from inference.app import create_app
from inference.consumer import Consumer
from inference.step_pipeline import StepPipeline
from tests.inference.scribe import LONG, Scribe, an_ask
from tests.inference.scripted import an_ask as an_echo
from tests.inference.test_worker import a_worker, ask, settings
from tests.waiting import PATIENCE_S, until

MODEL = "SmolLM2-135M-Instruct"


class Reader:
    """A stream's other end."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.chunks: list[Chunk] = []
        self.read_to = ""  # the subject that a reader answers to
        self.end: Reply | None = None
        self.signs_of_life = 0

    async def start(self, question: Ask, *, model: str = "scribe", reading: bool = True) -> None:
        async def hear(message: Msg) -> None:
            match inference.decode_reply(message.data):
                case Chunk() as chunk:
                    self.chunks.append(chunk)
                    self.read_to = message.reply
                    if reading:
                        await self.read(len(self.chunks))
                case Working():
                    self.signs_of_life += 1
                case end:
                    assert self.end is None
                    self.end = end

        inbox = self.client.new_inbox()
        await self.client.subscribe(inbox, cb=hear)
        subject = inference.subject(model, "generation")
        await self.client.publish(subject, inference.encode(question), reply=inbox)

    async def read(self, chunks: int) -> None:
        await self.client.publish(self.read_to, inference.encode_read(chunks))

    async def ended(self) -> Ended:
        await until(lambda: self.end is not None)
        assert isinstance(self.end, Ended)
        return self.end

    @property
    def text(self) -> str:
        return self.text_of(0)

    def text_of(self, index: int) -> str:
        """What was said of one of several texts."""
        pieces = [generation.TASK.decode_piece(chunk.piece) for chunk in self.chunks]
        return "".join(piece.text for piece in pieces if (piece.index or 0) == index)


@asynccontextmanager
async def a_scribe(nats_url: str, *, slots: int = 4) -> AsyncIterator[Scribe]:
    """The worker's side of the wire around a scribe."""
    connected = await broker.connect(nats_url, "scribe")
    consumer, model = Consumer(connected), Scribe()
    pipeline = StepPipeline(model, Limits(slots=slots), consumer.answer)
    try:
        async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as group:
            running = [
                group.create_task(pipeline.serve()),
                group.create_task(consumer.heartbeats()),
            ]
            await consumer.listen()
            await consumer.subscribe("scribe", [generation.TASK], pipeline)
            yield model
            model.gate.set()
            for task in running:
                task.cancel()
    finally:
        await connected.close()


async def test_a_stream_is_read_to_its_end(client: Client, nats_url: str) -> None:
    reader = Reader(client)
    async with a_scribe(nats_url):
        await reader.start(an_ask(LONG, stream=True))
        end = await reader.ended()

    assert reader.text == LONG
    assert [chunk.index for chunk in reader.chunks] == list(range(end.chunks))
    assert [chunk.quantities.output_tokens for chunk in reader.chunks] == [
        chunk.index + 1 for chunk in reader.chunks
    ]
    assert (end.reason, end.quantities.output_tokens) == ("stop", len(LONG.split()))


async def test_a_slow_reader_holds_up_nobody_else(client: Client, nats_url: str) -> None:
    slow, quick = Reader(client), Reader(client)
    async with a_scribe(nats_url):
        await slow.start(an_ask(LONG, stream=True), reading=False)
        await until(lambda: len(slow.chunks) == WINDOW)
        await quick.start(an_ask(LONG, stream=True))
        await quick.ended()
        await until(lambda: slow.signs_of_life)  # it waits, and is not forgotten

        assert len(slow.chunks) == WINDOW
        while slow.end is None:
            await slow.read(len(slow.chunks))
            await asyncio.sleep(0.01)

    assert slow.text == quick.text == LONG


async def test_a_cancel_frees_the_slot(client: Client, nats_url: str) -> None:
    gone, following = Reader(client), Reader(client)
    question = an_ask(LONG, stream=True)
    async with a_scribe(nats_url, slots=1):
        await gone.start(question, reading=False)
        await until(lambda: len(gone.chunks) == WINDOW)
        await following.start(an_ask("the next one", stream=True))

        await client.publish(inference.cancel_subject(question.request_id))

        end = await gone.ended()
        await following.ended()

    assert (end.reason, end.chunks, end.quantities.output_tokens) == ("cancelled", WINDOW, WINDOW)
    assert following.text == "the next one"


async def test_a_whole_answer_and_one_that_waits_can_be_cancelled(
    client: Client, nats_url: str
) -> None:
    running, waiting = an_ask("a b c d e f"), an_ask("never begun", stream=True)
    async with a_scribe(nats_url, slots=1) as model, asyncio.TaskGroup() as group:
        model.gate.clear()
        first = group.create_task(ask(client, "scribe", running, task="generation"))
        await model.has_begun()
        second = group.create_task(ask(client, "scribe", waiting, task="generation"))

        async def heard() -> bool:  # the second one, and so the first
            await client.publish(inference.cancel_subject(running.request_id))
            await client.publish(inference.cancel_subject(waiting.request_id))
            await asyncio.sleep(0.02)
            return second.done()

        await until(heard)
        model.gate.set()

    stopped = first.result()
    assert isinstance(stopped, Expired)
    assert stopped.quantities.output_tokens == 1
    assert second.result() == Expired()
    assert len(model.steps) == 1


async def test_noise_about_streams_harms_nobody(client: Client, nats_url: str) -> None:
    reader = Reader(client)
    async with a_scribe(nats_url):
        await reader.start(an_ask("a stream", stream=True), reading=False)
        await reader.ended()
        for noise in (b"", b"many", b"\xff", b"-1", b"9" * 40):
            await client.publish(reader.read_to, noise)
            await client.publish(reader.read_to.rpartition(".")[0] + ".nobody", noise)
            await client.publish("cancel.nobody", noise)

        again = await ask(client, "scribe", an_ask("still there?"), task="generation")

    assert isinstance(again, Answered)


async def test_a_task_without_pieces_is_not_streamed(client: Client, nats_url: str) -> None:
    question = an_echo("in pieces, please")
    async with a_worker(client, create_app(settings(nats_url))):
        reply = await ask(client, "echo", replace(question, stream=True))

    assert isinstance(reply, Refused)
    assert reply.code == "not_streamable"


async def test_a_worker_that_leaves_finishes_its_streams(client: Client, nats_url: str) -> None:
    pytest.importorskip("torch")
    reader = Reader(client)
    value = GenerationInput(text="Once upon a time", temperature=0, max_length=20)
    question = replace(an_ask("", stream=True), input=generation.TASK.encode(value))
    async with a_worker(client, create_app(settings(nats_url, MODEL))) as stop:
        await reader.start(question, model=MODEL)
        await until(lambda: reader.chunks)
        stop.set()
        end = await reader.ended()

    assert (end.reason, end.quantities.output_tokens) == ("length", 20)


@pytest.mark.parametrize("sequences", [1, 3])
async def test_a_streams_pieces_add_up_to_the_answer_of_the_same_seed(
    client: Client, nats_url: str, sequences: int
) -> None:
    pytest.importorskip("torch")
    reader = Reader(client)
    value = GenerationInput(
        text="My favourite food is", seed=11, max_length=16, num_return_sequences=sequences
    )
    streamed = replace(an_ask("", stream=True), input=generation.TASK.encode(value))
    whole = replace(an_ask(""), input=generation.TASK.encode(value))
    async with a_worker(client, create_app(settings(nats_url, MODEL))):
        await reader.start(streamed, model=MODEL)
        reply = await ask(client, MODEL, whole, task="generation")
        end = await reader.ended()

    assert isinstance(reply, Answered)
    result = generation.TASK.decode_result(reply.result)
    texts = result.generated_texts or [result.generated_text]
    assert texts == [value.text + reader.text_of(number) for number in range(sequences)]
    assert replace(end.quantities, device_ms=0) == replace(reply.quantities, device_ms=0)
    assert end.quantities == reader.chunks[-1].quantities
    assert min(end.quantities.device_ms, reply.quantities.device_ms) > 0
    assert end.timing.compute_ms > 0

"""A worker of every task, whose answers are as short as their types let them be."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import msgspec
from nats.aio.msg import Msg

from events import broker, inference, models
from events.inference import WORKERS, Answered, Ask, Chunk, Ended, Timing
from events.models import ModelAnnounced, ModelDeclared
from events.tasks import Task, all_tasks
from events.usage import Quantities

MODEL = "mute"
USED = Quantities(input_words=1)
FOR_EVER = 2.0**40  # seconds since 1970


def shortest(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> Any:
    """The shortest value of a JSON schema, as msgspec writes them."""
    if "$ref" in schema:
        return shortest(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    if "enum" in schema:
        return schema["enum"][0]
    if "anyOf" in schema:
        return shortest(schema["anyOf"][0], definitions)
    if schema["type"] == "object":
        fields = schema.get("required", ())
        return {name: shortest(schema["properties"][name], definitions) for name in fields}
    if schema["type"] == "array":
        return [shortest(schema["items"], definitions)] * schema.get("minItems", 0)
    plain = {"string": "a" * schema.get("minLength", 0), "boolean": False, "null": None}
    return plain.get(schema["type"], schema.get("minimum", 0))


def shortest_of(kind: type) -> bytes:
    """The shortest JSON of a type."""
    (schema,), definitions = msgspec.json.schema_components([kind])
    return msgspec.json.encode(shortest(schema, definitions))


@asynccontextmanager
async def mute_worker(nats_url: str) -> AsyncIterator[None]:
    """One, until the block ends."""
    client = await broker.connect(nats_url, "mute-worker")
    try:
        tasks = all_tasks()
        for task in tasks.values():
            subject = inference.subject(MODEL, task.name)
            await client.subscribe(subject, queue=WORKERS, cb=_answers(task))
        await broker.settle(client)
        declared = ModelDeclared(name=MODEL, source="test:", tasks=tuple(tasks))
        announced = ModelAnnounced(model=declared, worker_id=UUID(int=1), until=FOR_EVER)
        await client.publish(models.subject(announced), models.encode(announced))
        await client.flush()
        yield
    finally:
        await client.close()


def _answers(task: Task) -> Any:
    result = shortest_of(task.gives)
    piece = shortest_of(task.piece) if task.piece else b""

    async def answer(message: Msg) -> None:
        ask: Ask = inference.decode_ask(message.data)
        if not ask.stream:
            await message.respond(inference.encode(Answered(result, USED, Timing())))
            return
        await message.respond(inference.encode(Chunk(0, piece, USED)))
        await message.respond(inference.encode(Ended("stop", 1, USED, Timing())))

    return answer

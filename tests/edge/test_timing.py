"""`Server-Timing`: where the time went, and that it is all of it."""

import asyncio
import time

from nats.aio.msg import Msg

from events.inference import Ask, Busy
from events.models import Limits
from tests.edge.running import Edge, answered, reply
from tests.inference.test_worker import a_scripted_worker

TOKEN_S = 0.1


def parts(header: str) -> dict[str, float]:
    """Milliseconds, by name."""
    named = (part.split(";dur=") for part in header.split(", "))
    return {name: float(value) for name, value in named}


async def test_its_parts_add_up_to_what_the_caller_measured(edge: Edge, nats_url: str) -> None:
    await edge.announce(model="scripted")
    async with (
        a_scripted_worker(nats_url, Limits(batch_tokens=3)) as model,
        edge.client() as client,
    ):
        await client.post("/v1/scripted/echo", json={"text": "first"})  # its key is known now
        model.token_s = TOKEN_S

        async def call(text: str) -> tuple[dict[str, float], float]:
            began = time.perf_counter()
            response = await client.post("/v1/scripted/echo", json={"text": text})
            return parts(response.headers["server-timing"]), 1_000 * (time.perf_counter() - began)

        measured = await asyncio.gather(call("one two three"), call("four five six"))

    for timing, caller_ms in measured:
        assert list(timing) == ["tokenize", "queue", "compute", "edge"]
        assert timing["compute"] >= 3 * TOKEN_S * 1_000
        # no machine is too slow for this one: it is the same clock, read within what it read
        assert sum(timing.values()) <= caller_ms + 0.1
        # what is left is the way through HTTP, before the body is whole and after the answer is
        assert sum(timing.values()) >= 3 * TOKEN_S * 1_000


async def test_what_it_waited_in_the_edge_for_a_worker_counts_as_queue(
    edge: Edge,
) -> None:
    asked = 0

    async def answer(message: Msg, ask: Ask) -> None:
        nonlocal asked
        asked += 1
        await reply(message, answered(ask.input) if asked > 1 else Busy(1, 200.0))

    await edge.serve(answer)
    async with edge.client() as client:
        response = await client.post("/v1/rogue/echo", json={"text": "hello"})

    assert parts(response.headers["server-timing"])["queue"] >= 0.75 * 200

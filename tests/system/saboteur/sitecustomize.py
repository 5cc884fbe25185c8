"""Breaks one promise in every process that starts with it, to prove that a test would see.

Python imports a module of this name at start-up if it finds one; the tests put this
folder on PYTHONPATH. Nothing of the product knows about it.
"""

import asyncio
import os
import time
from pathlib import Path
from typing import Any

ARMED = Path(os.environ.get("SABOTAGE_ARMED", ""))
WAITING_S = 600.0  # for the kill: it comes once the test has seen `reached`


def put(owner: Any, name: str, broken: Any) -> None:
    """Put what is broken in the place of what works."""
    setattr(owner, name, broken)


async def moment() -> None:
    """The moment at which a kill does its harm. When armed, wait here for the kill."""
    try:
        ARMED.rename(ARMED.with_name("reached"))
    except FileNotFoundError:
        return
    await asyncio.sleep(WAITING_S)


def publish_after_answering() -> None:
    """The edge answers first and meters later."""
    from edge.metering import Meter

    record = Meter.record
    late = set()

    async def record_later(meter: Meter, fact: Any, **options: Any) -> None:
        async def later() -> None:
            await moment()
            await record(meter, fact, **options)

        task = asyncio.create_task(later())
        late.add(task)
        task.add_done_callback(late.discard)

    put(Meter, "record", record_later)


def acknowledge_before_the_commit() -> None:
    """The consumers tell the broker that they are done, and then begin."""
    from consumers.redelivery import Redelivery

    settle = Redelivery.settle

    async def settle_acknowledged(self: Redelivery, messages: Any, *rest: Any, **how: Any) -> bool:
        for message in messages:
            await message.ack()
        await moment()
        return await settle(self, messages, *rest, **how)

    put(Redelivery, "settle", settle_acknowledged)


def dawdle_after_the_commit() -> None:
    """The consumers wait before they acknowledge: allowed, and a kill then repeats events."""
    from consumers.redelivery import Redelivery

    settle = Redelivery.settle

    async def settle_slowly(
        self: Redelivery, messages: Any, decode: Any, write: Any, **how: Any
    ) -> bool:
        async def write_and_wait(facts: Any) -> None:
            await write(facts)
            await moment()

        return await settle(self, messages, decode, write_and_wait, **how)

    put(Redelivery, "settle", settle_slowly)


def meter_streams_at_their_end() -> None:
    """The edge meters no parts of a stream, only the whole."""
    from edge import stream

    put(stream, "PART_S", WAITING_S)


def bill_only_whole_streams() -> None:
    """The edge meters a stream at its end, if that is a good one."""
    from edge.errors import EdgeError
    from edge.stream import Stream
    from events.usage import NOTHING

    meter_streams_at_their_end()
    last = Stream._last  # noqa: SLF001 - there is no public way to break it

    async def last_of_whole(self: Stream, end: Any) -> bytes:
        if isinstance(end, EdgeError):
            self._delivered = NOTHING
        return await last(self, end)

    put(Stream, "_last", last_of_whole)


def hasten_jobs() -> None:
    """A killed edge's jobs come again soon: allowed, and it breaks nothing."""
    from events import jobs

    put(jobs, "SILENCE_S", 3.0)


def dawdle_after_metering() -> None:
    """The edge waits between usage event and answer: allowed, and a kill then repeats a job."""
    from edge.metering import Meter

    hasten_jobs()
    record = Meter.record

    async def record_and_wait(meter: Meter, fact: Any, **options: Any) -> None:
        await record(meter, fact, **options)
        await moment()

    put(Meter, "record", record_and_wait)


def bill_each_attempt() -> None:
    """A job that is run again is metered under an id of its own."""
    from edge.jobs.runner import Runner
    from events.ids import new_id

    dawdle_after_metering()

    async def attempt(self: Runner, claim: Any) -> Any:
        fresh = new_id()
        return await self._run(claim.job, fresh, fresh)

    put(Runner, "_attempt", attempt)


def acknowledge_jobs_first() -> None:
    """The edge tells the broker that a job is finished, and then begins."""
    from edge.jobs.runner import Runner

    handle = Runner._handle  # noqa: SLF001 - as above

    async def handle_acknowledged(self: Runner, message: Any, *others: Any) -> None:
        await message.ack()
        await handle(self, message, *others)

    put(Runner, "_handle", handle_acknowledged)


def break_with_all_in_hand() -> None:
    """The edge meets a bug, while it holds what a caller sent."""
    from edge.workers import Workers

    ask = Workers.ask

    async def break_if_told(
        self: Workers, model: str, task: str, asked: Any, **options: Any
    ) -> Any:
        everything = vars(self) | {"input": asked.input}
        if b"a bug" in asked.input:
            raise RuntimeError(f"nobody foresaw this, with {len(everything)} things in hand")
        return await ask(self, model, task, asked, **options)

    put(Workers, "ask", break_if_told)


def hang_in_the_model() -> None:
    """A worker's model never comes back."""
    from inference.models.echo import Echo

    def run(_self: Echo, _task: str, _prepared: Any) -> Any:
        ARMED.with_name("reached").touch()
        time.sleep(WAITING_S)

    put(Echo, "run", run)


if sabotage := os.environ.get("SABOTAGE"):
    globals()[sabotage]()

"""Breaks one promise in every process that starts with it, to prove that a test would see.

Python imports a module of this name at start-up if it finds one; the tests put this
folder on PYTHONPATH. Nothing of the product knows about it.
"""

import asyncio
import os
from typing import Any

PAUSE_S = 0.2  # so long is the moment in which a kill does its harm


def publish_after_answering() -> None:
    """The edge answers first and meters later."""
    from edge.metering import Meter  # noqa: PLC0415

    record = Meter.record
    late = set()

    async def record_later(meter: Meter, fact: Any) -> None:
        async def later() -> None:
            await asyncio.sleep(PAUSE_S)
            await record(meter, fact)

        task = asyncio.create_task(later())
        late.add(task)
        task.add_done_callback(late.discard)

    Meter.record = record_later  # type: ignore[assignment,method-assign]


def acknowledge_before_the_commit() -> None:
    """The consumers tell the broker that they are done, and then begin."""
    from consumers.redelivery import Redelivery  # noqa: PLC0415

    settle = Redelivery.settle

    async def settle_acknowledged(self: Redelivery, messages: Any, decode: Any, write: Any) -> bool:
        for message in messages:
            await message.ack()
        await asyncio.sleep(PAUSE_S)
        return await settle(self, messages, decode, write)

    Redelivery.settle = settle_acknowledged  # type: ignore[method-assign]


def dawdle_after_the_commit() -> None:
    """The consumers wait before they acknowledge: allowed, and a kill then repeats events."""
    from consumers.redelivery import Redelivery  # noqa: PLC0415

    settle = Redelivery.settle

    async def settle_slowly(self: Redelivery, messages: Any, decode: Any, write: Any) -> bool:
        async def write_and_wait(facts: Any) -> None:
            await write(facts)
            await asyncio.sleep(PAUSE_S)

        return await settle(self, messages, decode, write_and_wait)

    Redelivery.settle = settle_slowly  # type: ignore[method-assign]


if sabotage := os.environ.get("SABOTAGE"):
    globals()[sabotage]()

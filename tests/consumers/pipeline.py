"""The consumers inside the test's own loop, or as a process that a test may kill."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg

from consumers.app import create_app
from consumers.settings import Settings
from events import streams, usage
from events.usage import UsageEvent
from ledger.db import Connection
from tests.waiting import PATIENCE_S, until

SMALL = streams.Sizes(usage_bytes=64 * streams.MIB, stripe_bytes=64 * streams.MIB)
PROCESS = """
import asyncio, json, sys
from consumers.app import create_app
from consumers.settings import Settings
from events import streams
journal = streams.stripe_journal()
journal.ack_wait = 3.0  # what a killed process had in hand comes again sooner than in half a minute
streams.stripe_journal = lambda: journal
settings = Settings(**json.loads(sys.argv[1]))
asyncio.run(create_app(settings).run(asyncio.Event()))
"""


class Pipeline:
    """The broker and the ledger of one test, and what can be asked of them."""

    def __init__(self, nats: Client, ledger: Connection, nats_url: str, database_url: str) -> None:
        self.nats = nats
        self.ledger = ledger
        self.nats_url = nats_url
        self.database_url = database_url

    @asynccontextmanager
    async def consuming(self, **changes: Any) -> AsyncIterator[None]:
        """Run the consumers; they have to stop cleanly, too."""
        stop = asyncio.Event()
        async with asyncio.timeout(2 * PATIENCE_S), asyncio.TaskGroup() as tasks:
            tasks.create_task(create_app(Settings(**self._settings(changes))).run(stop))
            try:
                yield
            finally:
                stop.set()

    async def a_process(self, **changes: Any) -> asyncio.subprocess.Process:
        """The consumers in a process of their own."""
        return await asyncio.create_subprocess_exec(
            sys.executable, "-c", PROCESS, json.dumps(self._settings(changes))
        )

    def _settings(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        settings = {"nats_url": self.nats_url, "database_url": self.database_url}
        return {"webhooks_inside": True, **settings, "linger_s": 0.01, **changes}

    async def publish(self, subject: str, *bodies: bytes) -> None:
        jetstream = self.nats.jetstream()
        await asyncio.gather(*[jetstream.publish(subject, body) for body in bodies])

    async def deliver(self, *events: UsageEvent, times: int = 1) -> None:
        """State usage, without the message ids that would let the stream drop repeats."""
        jetstream = self.nats.jetstream()
        for event in events * times:
            await jetstream.publish(usage.subject(event.data), usage.encode(event))

    async def settled(self, stream: str = streams.USAGE) -> bool:
        """Whether nothing of the stream is waiting, and nothing in somebody's hands."""
        durable = {
            streams.USAGE: "usage_fold",
            streams.STRIPE: "stripe_journal",
            streams.BUDGETS: "budget_webhooks",
            streams.COMPLETIONS: "job_webhooks",
        }[stream]
        jetstream = self.nats.jetstream()
        # not by what is pending: a message that was just stored is not counted there yet
        stored = (await jetstream.stream_info(stream)).state.last_seq
        floor = (await jetstream.consumer_info(stream, durable)).ack_floor
        return floor is not None and floor.stream_seq >= stored

    async def until_settled(self, stream: str = streams.USAGE) -> None:
        async def settled() -> bool:
            return await self.settled(stream)

        await until(settled)

    async def requests(self) -> int:
        """How many requests the totals count."""
        query = "SELECT coalesce(sum(requests), 0)::bigint FROM usage_totals"
        count: int = await self.ledger.fetchval(query)
        return count

    async def parked(self) -> list[Msg]:
        """What was parked, oldest first."""
        jetstream = self.nats.jetstream()
        state = (await jetstream.stream_info(streams.PARKED)).state
        subscription = await jetstream.pull_subscribe("parked.>", stream=streams.PARKED)
        messages = await subscription.fetch(state.messages, PATIENCE_S) if state.messages else []
        await subscription.unsubscribe()
        return messages


async def kill(process: asyncio.subprocess.Process) -> None:
    process.send_signal(signal.SIGKILL)
    await process.wait()

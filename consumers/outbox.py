"""Publishes what the ledger has to announce, in the order in which it came to be."""

import asyncio
from typing import Final

from nats.aio.client import Client

from consumers.keeping import keep_doing
from consumers.pause import pause
from ledger import outbox
from ledger.db import Connection, Pool, acquire, only_one

PUBLISH_S: Final = 2.0
BATCH: Final = 200
LOOK_S: Final = 1.0  # for what no notification told of
RETRY_S: Final = 1.0


class Relay:
    """One of all relays works at a time; the others wait to take its place.

    A kill between publishing and forgetting publishes once more, which says nothing new.
    """

    def __init__(self, connection: Client, pool: Pool) -> None:
        self._jetstream = connection.jetstream(timeout=PUBLISH_S)
        self._pool = pool

    async def work(self, stop: asyncio.Event) -> None:
        """Relay until `stop`; PostgreSQL and NATS may be away for a while."""

        async def take_place() -> float:
            # two could publish two words on one account the wrong way round
            async with acquire(self._pool) as connection, only_one(connection, "outbox") as ours:
                if ours:
                    await self._relay(connection, stop)
            return RETRY_S

        await keep_doing("outbox", take_place, stop, retry_s=RETRY_S)

    async def _relay(self, connection: Connection, stop: asyncio.Event) -> None:
        told = asyncio.Event()

        def tell(*_: object) -> None:
            told.set()

        await connection.add_listener(outbox.CHANNEL, tell)
        try:
            while not stop.is_set():
                told.clear()
                while await self._publish(connection):
                    pass
                await pause(told, LOOK_S)
        finally:
            if not connection.is_closed():
                await connection.remove_listener(outbox.CHANNEL, tell)

    async def _publish(self, connection: Connection) -> bool:
        """Publish the oldest; whether there were any."""
        waiting = await outbox.oldest(connection, BATCH)
        for outgoing in waiting:
            await self._jetstream.publish(outgoing.subject, outgoing.payload)
        await outbox.forget(connection, [outgoing.id for outgoing in waiting])
        return bool(waiting)

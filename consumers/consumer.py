"""A consumer as a declaration: what it takes, how it reads it, and where it writes."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, TypeVar

from msgspec import Struct
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import ConsumerConfig

from consumers.redelivery import Redelivery
from events.pull import Pull
from ledger.db import Pool

WRITE_S: Final = 20.0  # below the 30 s ack wait: no redelivery in mid-write
PAUSE_S: Final = (0.1, 0.5, 1.0, 2.0)  # after one failed batch, two, ...

T = TypeVar("T")


class Consumer(Struct, Generic[T], frozen=True, kw_only=True):
    """Takes batches from one stream to the ledger."""

    stream: str
    config: ConsumerConfig  # durable: its processes share it
    batch: int
    decode: Callable[[Msg], T]
    write: Callable[[Pool, Sequence[T]], Awaitable[None]]  # all of it or nothing
    linger_s: float = 5.0  # at most, whatever the settings say

    def pull(self, connection: Client, *, linger_s: float) -> Pull:
        """Where one worker's batches come from."""
        return Pull(
            connection,
            self.stream,
            self.config,
            batch=self.batch,
            linger_s=min(self.linger_s, linger_s),
        )

    async def work(self, connection: Client, pool: Pool, pull: Pull) -> None:
        """Settle one worker's batches, one after the other, until it is stopped."""
        redelivery = Redelivery(connection, self.stream)
        failures = 0
        async for messages in pull.batches():
            if await redelivery.settle(messages, self.decode, self._writer(pool)):
                failures = 0
            else:
                await asyncio.sleep(PAUSE_S[min(failures, len(PAUSE_S) - 1)])
                failures += 1

    def _writer(self, pool: Pool) -> Callable[[Sequence[T]], Awaitable[None]]:
        async def write(facts: Sequence[T]) -> None:
            async with asyncio.timeout(WRITE_S):
                await self.write(pool, facts)

        return write

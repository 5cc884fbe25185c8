"""Posts events to customers: many at once, and of no account more than its share."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final
from uuid import UUID

from msgspec import Struct
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import ConsumerConfig

from consumers.consumer import WRITE_S
from consumers.redelivery import Redelivery
from consumers.webhooks import Poster, Posting
from events.jobs import ACCOUNT
from events.pull import Pull, give_back
from ledger.budgets import find_webhook
from ledger.db import Pool, acquire

AT_ONCE: Final = 256  # posts of one kind of event
SHARE: Final = 16  # of them to one account: its slow receivers hold up its own events alone
FIRST_S: Final = 5.0  # before a second attempt; later ones wait for as long again as all before
LAST_S: Final = 3_600.0
SOON_S: Final = 1.0  # before an event is looked at again whose account has its share; likewise
LATE_S: Final = 60.0


class Hook(Struct, frozen=True, kw_only=True):
    """What is to be posted, and for whom."""

    account_id: UUID
    url: str = ACCOUNT  # or in its place, the account's secret signing all the same
    id: str  # the same at each attempt


class Hooks(Struct, frozen=True, kw_only=True):
    """Posts the events of one stream; their subjects name the account in second place."""

    stream: str
    config: ConsumerConfig  # durable: its processes share it
    decode: Callable[[Msg], Hook]
    kept_s: float  # for how long an event is tried
    poster: Poster

    def pull(self, connection: Client, *, linger_s: float) -> Pull:
        """Where the events come from, one at a time."""
        return Pull(connection, self.stream, self.config, batch=1, linger_s=linger_s)

    async def work(self, connection: Client, pool: Pool, pull: Pull) -> None:
        """Post events, until it is stopped."""
        redelivery = Redelivery(connection, self.stream)
        in_hand: dict[asyncio.Task[None], str] = {}  # of which account
        async with asyncio.TaskGroup() as tasks:
            async for messages in pull.batches():
                for message in messages:
                    account = message.subject.split(".")[1]
                    if list(in_hand.values()).count(account) >= SHARE:
                        await give_back([message], delay_s=_backoff_s(message, SOON_S, LATE_S))
                        continue
                    task = tasks.create_task(self._tell(redelivery, pool, message))
                    in_hand[task] = account
                    task.add_done_callback(in_hand.pop)
                if len(in_hand) >= AT_ONCE:  # none is asked for that would wait in our hands
                    await asyncio.wait(in_hand, return_when=asyncio.FIRST_COMPLETED)

    async def _tell(self, redelivery: Redelivery, pool: Pool, message: Msg) -> None:
        """Post one event; it ends up acknowledged, parked or handed back."""

        async def post(hooks: Sequence[Hook]) -> None:
            async with asyncio.timeout(WRITE_S):
                for hook in hooks:
                    await self._post(pool, hook, message)

        retry_s = _backoff_s(message, FIRST_S, LAST_S)
        await redelivery.settle([message], self.decode, post, retry_s=retry_s)

    async def _post(self, pool: Pool, hook: Hook, message: Msg) -> None:
        async with acquire(pool) as connection:
            webhook = await find_webhook(connection, hook.account_id)
        if webhook is None:  # nor a secret to sign with: nobody is to be told
            return
        posting = Posting(
            url=webhook.url if hook.url == ACCOUNT else hook.url,
            secret=webhook.secret,
            id=hook.id,
            body=message.data,
            until=_stated_at(message) + self.kept_s,
        )
        await self.poster.post(posting)


def _stated_at(message: Msg) -> float:
    return message.metadata.timestamp.timestamp()


def _backoff_s(message: Msg, first_s: float, last_s: float) -> float:
    """As long as it has waited yet. The broker's count is of more than attempts."""
    return min(max(time.time() - _stated_at(message), first_s), last_s)

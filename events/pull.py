"""Batches from a durable pull consumer, which any number of processes share.

nats-py's own `fetch` starts a task and a timer for every message, half of what a
usage event costs from the stream to its row. Here a message costs an append.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Final

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import ConnectionClosedError, Error
from nats.js.api import ConsumerConfig, Header, StatusCode

log = structlog.get_logger()

EXPIRES_S: Final = 5.0  # how long the broker keeps a request that it cannot fill
SLACK_S: Final = 1.0  # after which a request that nothing was heard of is asked again
RETRY_S: Final = 0.5  # between attempts where the broker, or the stream, is away
_UNREMARKABLE: Final = frozenset({StatusCode.NO_MESSAGES, StatusCode.REQUEST_TIMEOUT})


class Pull:
    """One worker's batches, one request to the broker at a time.

    Args:
        connection: Connected, or on its way back.
        stream: Where the messages are.
        config: The consumer, with its durable name; made where it is missing.
        batch: The most messages to take at once.
        linger_s: How long a batch waits to fill, from its first message.
    """

    def __init__(
        self,
        connection: Client,
        stream: str,
        config: ConsumerConfig,
        *,
        batch: int,
        linger_s: float,
    ) -> None:
        self._connection = connection
        self._stream = stream
        self._config = config
        self._batch = batch
        self._linger_s = linger_s
        self._next = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{config.durable_name}"
        self._inbox = connection.new_inbox()
        self._requests = 0
        self._open = 0  # messages that the broker still owes to the last request
        self._stale_at = 0.0
        self._made = False  # the durable consumer
        self._troubled = False
        self._messages: list[Msg] = []
        self._changed = asyncio.Event()
        self._stopping = False

    async def batches(self) -> AsyncIterator[Sequence[Msg]]:
        """Batches until `stop`; what then is left over goes back to the broker."""
        subscription = await self._connection.subscribe(
            f"{self._inbox}.*",
            cb=self._receive,
            pending_bytes_limit=0,  # no more than a batch can be pending
        )
        try:
            while not self._stopping:
                await self._request()
                await self._fill()
                batch, self._messages = self._messages[: self._batch], self._messages[self._batch :]
                if batch:
                    yield batch
        finally:
            with contextlib.suppress(Error):  # a closed connection has forgotten it already
                await subscription.unsubscribe()
            await give_back(self._messages)

    def stop(self) -> None:
        """End `batches` after the one that is being worked on."""
        self._stopping = True
        self._changed.set()

    def renew(self) -> None:
        """Ask again: the broker was away, and has forgotten who asked."""
        self._open = 0
        self._changed.set()

    async def _request(self) -> None:
        """See to it that the broker owes us messages."""
        clock = asyncio.get_running_loop().time
        if self._open and clock() < self._stale_at:
            return
        self._open = 0
        if self._troubled:
            await asyncio.sleep(RETRY_S)
            self._troubled = False
        try:
            if not self._made:
                await self._connection.jetstream().add_consumer(self._stream, self._config)
                self._made = True
            self._requests += 1
            self._open = self._batch
            expires_ns = int(EXPIRES_S * 1_000_000_000)
            await self._connection.publish(
                self._next,
                json.dumps({"batch": self._batch, "expires": expires_ns}).encode(),
                reply=f"{self._inbox}.{self._requests}",
            )
        except ConnectionClosedError:
            raise
        except (Error, TimeoutError) as error:
            self._open = 0
            self._trouble(repr(error))
        else:
            self._stale_at = clock() + EXPIRES_S + SLACK_S

    async def _fill(self) -> None:
        """Wait for a first message, and then for a full batch or the end of patience."""
        if not self._messages and self._open:
            await self._change(EXPIRES_S + SLACK_S)
        if self._messages and self._open and len(self._messages) < self._batch:
            await self._change(self._linger_s)

    async def _change(self, within_s: float) -> None:
        if self._stopping:
            return
        self._changed.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._changed.wait()

    async def _receive(self, message: Msg) -> None:
        if not message.reply:  # what comes from a stream has a place to acknowledge it
            await self._end(message)
            return
        self._messages.append(message)
        self._open -= 1
        if len(self._messages) in {1, self._batch} or self._open <= 0:
            self._changed.set()

    async def _end(self, status: Msg) -> None:
        """The broker has ended a request, for the reason in the headers."""
        if status.subject != f"{self._inbox}.{self._requests}":
            return  # one that was given up before
        self._open = 0
        headers = status.headers or {}
        if headers.get(Header.STATUS) not in _UNREMARKABLE:
            self._trouble(headers.get(Header.DESCRIPTION) or str(headers))
        self._changed.set()

    def _trouble(self, reason: str) -> None:
        """Note that the consumer may be gone with its stream: make sure, but not at once."""
        log.warning("pull_failed", stream=self._stream, reason=reason)
        self._made = False
        self._troubled = True


async def give_back(messages: Iterable[Msg], *, delay_s: float = 0.0) -> int:
    """Hand back what is not acknowledged; the broker's own patience does it otherwise.

    Args:
        messages: Some of them may be acknowledged.
        delay_s: For how long they stay away.

    Returns:
        How many there were.
    """
    unsettled = [message for message in messages if not message.is_acked]
    with contextlib.suppress(Error):
        for message in unsettled:
            await message.nak(delay=delay_s)
    return len(unsettled)

"""What a worker says to one request: one reply, or the chunks of a stream."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final
from uuid import UUID

import nats.errors
from nats.aio.client import Client

from edge.errors import BadReply, DeadlinePassed
from events import inference
from events.inference import WINDOW, Answered, Chunk, Ended, Reply, Working

READ_EVERY: Final = WINDOW // 4  # chunks, between two words to the worker of how far we are


class Incoming:
    """Replies in the order in which they came.

    Args:
        connection: Where the worker is told how far its stream was read, or to stop.
        request_id: Of the request.
        done: Called once the worker has nothing more to do for it, as far as is known.
        forget: Called once no more replies are wanted.
    """

    __slots__ = (
        "_arrived",
        "_chunks",
        "_connection",
        "_done",
        "_error",
        "_forget",
        "_heard",
        "_read",
        "_replies",
        "_reply_to",
        "_request_id",
        "is_idle",
        "room",
        "waited_s",
        "worker",
    )

    def __init__(
        self,
        connection: Client,
        request_id: UUID,
        *,
        done: Callable[[], object],
        forget: Callable[[], object],
    ) -> None:
        self._connection = connection
        self._request_id = request_id
        self._done: Callable[[], object] | None = done
        self._forget = forget
        self._heard = time.monotonic()  # when its worker last gave a sign
        self._replies: deque[Reply] = deque()
        self._error: Exception | None = None
        self._arrived: asyncio.Future[None] | None = None  # while somebody waits
        self._chunks = 0
        self._read = 0
        self._reply_to = ""
        self.waited_s = 0.0  # for a worker to have room, before
        self.room = 1  # requests that may go on once this one is done
        self.worker = ""  # that has room for them; empty: any
        self.is_idle = False  # whether that holds nothing else

    def hear(self, reply: Reply, reply_to: str) -> None:
        """Take a reply; of a chunk, `reply_to` is where to say how far it was read."""
        self._heard = time.monotonic()
        if isinstance(reply, Working):
            return
        if isinstance(reply, Chunk):
            if reply.index != self._chunks:
                self.fail(BadReply("a piece of the stream was lost on its way; try again"))
                return
            self._chunks += 1
            self._reply_to = reply_to
        elif isinstance(reply, Answered | Ended):
            self.room, self.worker, self.is_idle = reply.room, reply_to, reply.idle
            self._end()  # of a stream much may be unread, and its slot is free
        self._replies.append(reply)
        self._wake()

    def fail(self, error: Exception) -> None:
        """Let who reads have this, once all that came before has been read."""
        if self._error is None:
            self._error = error
            self._wake()

    def is_silent(self, since: float) -> bool:
        """Whether the worker has given no sign since then, by the monotonic clock."""
        return self._heard < since

    async def first(self, deadline: float) -> Reply:
        """Look at the first reply, that is no heartbeat.

        Args:
            deadline: In Unix seconds.

        Raises:
            DeadlinePassed: there was none by then.
            Exception: what it was failed with.
        """
        timer = asyncio.get_running_loop().call_later(deadline - time.time(), self._too_late)
        try:
            while not self._replies:
                await self._wait()
        finally:
            timer.cancel()
        return self._replies[0]

    def _too_late(self) -> None:
        self.fail(DeadlinePassed("the model did not answer in time; it is not billed"))

    async def next(self) -> Reply:
        """Take the next reply, that is no heartbeat.

        Raises:
            Exception: what it was failed with; there will be no more.
        """
        while not self._replies:
            await self._wait()
        reply = self._replies.popleft()
        if isinstance(reply, Chunk):
            self._read += 1
            if self._read % READ_EVERY == 0 and self._reply_to:
                await self._say(self._reply_to, inference.encode_read(self._read))
        return reply

    async def _wait(self) -> None:
        if self._error is not None:
            raise self._error
        self._arrived = asyncio.get_running_loop().create_future()
        try:
            await self._arrived
        finally:
            self._arrived = None

    def _wake(self) -> None:
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(None)

    def close(self) -> None:
        """Hear no more."""
        self._forget()
        self._end()

    def _end(self) -> None:
        done, self._done = self._done, None
        if done is not None:
            done()

    async def cancel(self) -> None:
        """Have the worker stop; what it says to that can still be heard."""
        await self._say(inference.cancel_subject(self._request_id), b"")

    async def _say(self, subject: str, message: bytes) -> None:
        with suppress(nats.errors.Error, OSError):  # then its chunks do not come here either
            await self._connection.publish(subject, message)

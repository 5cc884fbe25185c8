"""Reading a stream's last words, without a consumer.

Source: NATS ADR-31.
"""

import asyncio
from collections.abc import Sequence
from itertools import count
from typing import Any, Final

import msgspec
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

READ_S: Final = 2.0
BATCH: Final = 500

_END: Final = {"204", "404"}


class Direct:
    """Asks streams that allow direct reads; one inbox for all answers."""

    def __init__(self, connection: Client) -> None:
        self._connection = connection
        self._prefix = ""
        self._numbers = count()
        self._subscription: Subscription | None = None
        self._open: dict[str, tuple[list[Msg], asyncio.Future[None]]] = {}

    async def start(self) -> None:
        """Open the inbox; the connection must be up."""
        self._prefix = self._connection.new_inbox() + "."
        self._subscription = await self._connection.subscribe(
            self._prefix + "*", cb=self._hear, pending_msgs_limit=0, pending_bytes_limit=0
        )

    async def last(self, stream: str, *filters: str) -> Sequence[Msg]:
        """The last message of each subject that fits one of the filters, as of one moment.

        Raises:
            nats.errors.Error, OSError, TimeoutError: the broker is away.
        """
        return await self._read(stream, {"multi_last": filters})

    async def since(self, stream: str, sequence: int, subjects: str) -> Sequence[Msg]:
        """Up to `BATCH` messages from a sequence number on, oldest first.

        Raises:
            nats.errors.Error, OSError, TimeoutError: the broker is away.
        """
        return await self._read(stream, {"seq": sequence, "batch": BATCH, "next_by_subj": subjects})

    async def _read(self, stream: str, query: dict[str, Any]) -> Sequence[Msg]:
        number = str(next(self._numbers))
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        messages: list[Msg] = []
        self._open[number] = messages, done
        try:
            await self._connection.publish(
                f"$JS.API.DIRECT.GET.{stream}",
                msgspec.json.encode(query),
                reply=self._prefix + number,
            )
            async with asyncio.timeout(READ_S):
                await done
        finally:
            del self._open[number]
        return messages

    async def _hear(self, message: Msg) -> None:
        asked = self._open.get(message.subject[len(self._prefix) :])
        if asked is None:
            return
        messages, done = asked
        status = (message.headers or {}).get("Status")
        if status is None:
            messages.append(message)
        elif done.done():
            return
        elif status in _END:
            done.set_result(None)
        else:
            done.set_exception(nats.errors.Error(f"the stream cannot be read: {message.headers}"))

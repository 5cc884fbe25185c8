"""What becomes of a message, decided once for every consumer.

Written and committed: acknowledged. Unreadable, or refused by the ledger for what
it says: parked in a stream of its own, with the reason. Anything else: handed back,
to come again after a delay.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

import msgspec
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error

from consumers.errors import NotDelivered, Undeliverable
from events.pull import give_back
from ledger.errors import LedgerUnavailable, RefusedByLedger

log = structlog.get_logger()

RETRY_S: Final = 2.0  # without it, what cannot be written comes back a thousand times a second
PARK_S: Final = 5.0
REASON_CHARACTERS: Final = 500

REASON: Final = "Tollgate-Reason"
SUBJECT: Final = "Tollgate-Subject"
SEQUENCE: Final = "Tollgate-Stream-Sequence"

#: What reading a message may raise that will never be read.
UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError, Undeliverable)

T = TypeVar("T")
Write = Callable[[Sequence[T]], Awaitable[None]]
Bad = tuple[Msg, str]  # with the reason


class Redelivery:
    """Settles the messages of one stream."""

    def __init__(self, connection: Client, stream: str) -> None:
        self._jetstream = connection.jetstream(timeout=PARK_S)
        self._stream = stream

    async def settle(
        self,
        messages: Sequence[Msg],
        decode: Callable[[Msg], T],
        write: Write[T],
        *,
        retry_s: float = RETRY_S,
    ) -> bool:
        """Decode messages and write what they say, and acknowledge them after that.

        Args:
            messages: Each ends up acknowledged, parked or handed back.
            decode: Reads one message.
            write: Writes what was read, all of it or nothing.
            retry_s: After how long what is handed back comes again.

        Returns:
            False where some were handed back: wait before taking more.
        """
        try:
            readable, bad = _read(messages, decode)
            bad += await self._write(readable, write)
            for message, reason in bad:  # after their neighbours: this may fail, too
                await self._park(message, reason)
        except (LedgerUnavailable, NotDelivered, Error, TimeoutError) as error:
            log.warning("batch_failed", stream=self._stream, error=repr(error))
        except Exception:
            log.exception("batch_failed", stream=self._stream)
        return await give_back(messages, delay_s=retry_s) == 0

    async def _write(self, readable: Sequence[tuple[Msg, T]], write: Write[T]) -> list[Bad]:
        """Write all at once, or, where that is refused, all that can be written."""
        if not readable:
            return []
        try:
            await write([fact for _, fact in readable])
        except (RefusedByLedger, Undeliverable) as error:
            if len(readable) == 1:
                return [(readable[0][0], str(error))]
            middle = len(readable) // 2
            first = await self._write(readable[:middle], write)
            return first + await self._write(readable[middle:], write)
        for message, _ in readable:
            await message.ack()
        return []

    async def _park(self, message: Msg, reason: str) -> None:
        """Move a message to the parking stream: it is there before it is gone from here."""
        sequence = message.metadata.sequence.stream
        log.warning("message_parked", stream=self._stream, sequence=sequence, reason=reason)
        await self._jetstream.publish(
            f"parked.{self._stream}",
            message.data,
            headers={
                "Nats-Msg-Id": f"{self._stream}.{sequence}",  # parked twice, kept once
                REASON: _one_line(reason),
                SUBJECT: message.subject,
                SEQUENCE: str(sequence),
            },
        )
        await message.ack()


def _read(
    messages: Sequence[Msg], decode: Callable[[Msg], T]
) -> tuple[list[tuple[Msg, T]], list[Bad]]:
    readable: list[tuple[Msg, T]] = []
    bad: list[Bad] = []
    for message in messages:
        try:
            readable.append((message, decode(message)))
        except UNREADABLE as error:
            bad.append((message, str(error)))
    return readable, bad


def _one_line(reason: str) -> str:
    """A text that may stand in a header."""
    printable = " ".join(reason.split()).encode("ascii", "backslashreplace").decode()
    return printable[:REASON_CHARACTERS]

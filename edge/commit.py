"""Group commit: several messages for one fsync, all of them stored or none.

A broker that fsyncs every message takes a few thousand a second; one that fsyncs a
batch takes many times that. Whoever stores much keeps one unit in flight: a single
message when it is idle, else an atomic batch of all that arrived meanwhile.
"""

from collections.abc import Sequence
from enum import Enum, auto
from itertools import count
from secrets import token_hex
from typing import Final

import msgspec
import nats.errors
from msgspec import Struct
from nats.aio.client import Client

ACK_S: Final = 2.0  # an fsync takes milliseconds; then the attempt's fate is unknown
BACKOFF_S: Final = (0.05, 0.1, 0.2, 0.5, 1.0)  # the last one from then on

# the broker's error codes, from its errors.json
STREAM_FULL: Final = frozenset({10077, 10122})  # maximum bytes, maximum messages
_ID_SEEN: Final = 10201  # one message id of a batch was seen before, or all of them
_BATCH_BROKEN: Final = 10176  # members missing, or too many batches open: none is stored


class _Reply(Struct):
    duplicate: bool = False
    error: "_Error | None" = None


class _Error(Struct):
    err_code: int = 0
    description: str = ""


_reply: Final = msgspec.json.Decoder(_Reply)


class Fate(Enum):
    """What became of a unit."""

    STORED = auto()
    REFUSED = auto()
    UNKNOWN = auto()
    BROKEN = auto()  # of a batch: none of it is stored, and another try may do better
    SEEN = auto()  # of a batch: at least one of its messages is stored


_FATES: Final = {_ID_SEEN: Fate.SEEN, _BATCH_BROKEN: Fate.BROKEN}


class Outcome(Struct, frozen=True):
    """A fate, and what the broker said to it."""

    fate: Fate
    code: int = 0
    reason: str = ""
    repeat: bool = False  # it was stored before, and not by us


class Message(Struct, frozen=True):
    """One member of a unit."""

    subject: str
    payload: bytes
    id: str = ""  # by which the stream knows a repeat; none: it takes repeats


class GroupCommit:
    """Attempts at storing units, of one message or of at most `MAX_BATCH` for one stream."""

    def __init__(self, connection: Client, *, ack_timeout_s: float = ACK_S) -> None:
        self._connection = connection
        self._ack_timeout_s = ack_timeout_s
        self._tag = token_hex(6)  # short: every message of a batch is stored with it
        self._batches = count()

    async def attempt(self, unit: Sequence[Message]) -> Outcome:
        """Send a unit once, and hear what became of it.

        Source: NATS ADR-50.
        """
        *members, last = unit
        if not members:
            return await self._request(last, _headers(last))
        batch = {"Nats-Batch-Id": f"{self._tag}{next(self._batches)}"}
        try:
            for number, message in enumerate(members, start=1):
                headers = _headers(message) | batch | {"Nats-Batch-Sequence": str(number)}
                await self._connection.publish(message.subject, message.payload, headers=headers)
        except (nats.errors.Error, OSError) as error:
            return Outcome(Fate.REFUSED, reason=repr(error))  # uncommitted: nothing is stored
        end = {"Nats-Batch-Sequence": str(len(unit)), "Nats-Batch-Commit": "1"}
        return await self._request(last, _headers(last) | batch | end)

    async def _request(self, message: Message, headers: dict[str, str]) -> Outcome:
        try:
            reply = await self._connection.request(
                message.subject,
                message.payload,
                timeout=self._ack_timeout_s,
                headers=headers or None,
            )
            answer = _reply.decode(reply.data)
        except (nats.errors.NoRespondersError, nats.errors.OutboundBufferLimitError) as away:
            return Outcome(Fate.REFUSED, reason=repr(away))  # never left, or nobody was there
        except (nats.errors.Error, OSError, TimeoutError, msgspec.DecodeError) as unknown:
            return Outcome(Fate.UNKNOWN, reason=repr(unknown))
        if answer.error is None:
            return Outcome(Fate.STORED, repeat=answer.duplicate)
        fate = _FATES.get(answer.error.err_code, Fate.REFUSED)
        return Outcome(fate, answer.error.err_code, answer.error.description)


def backoff(attempt: int) -> float:
    """How long to wait after an attempt, counted from 0."""
    return BACKOFF_S[min(attempt, len(BACKOFF_S) - 1)]


def _headers(message: Message) -> dict[str, str]:
    return {"Nats-Msg-Id": message.id} if message.id else {}

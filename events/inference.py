"""Asking a model: one request from an edge, one or more replies from a worker.

A stream is a request that is answered by `Chunk` after `Chunk`, and by one `Ended`. Each
chunk is published with a subject to reply to, at which the edge says how far its caller
has read (`encode_read`): a worker that is `WINDOW` chunks ahead of that makes no more, so that
a slow reader slows its own stream and fills nobody's memory. An edge whose caller is gone
publishes to `cancel_subject`, which every worker hears.

Envelopes are MessagePack arrays and carry the task's input and result as the JSON
that the caller sent and gets: neither side decodes and encodes it a second time.
Everything is in the envelope and nothing in NATS headers, which cost nats-py more
to build and to read than the whole of the rest.
"""

from typing import Annotated, Final, Literal
from uuid import UUID

import msgspec
from msgspec import Meta, Struct

from events.subjects import token
from events.usage import NOTHING, Quantities

WORKERS: Final = "workers"  # the queue group that shares the work

HEARTBEAT_S: Final = 1.0  # a worker speaks of each request that it holds this often
SILENCE_S: Final = 4.0  # three heartbeats missed and some slack: the worker is gone

CANCELS: Final = "cancel.*"
WINDOW: Final = 64  # chunks ahead of a stream's reader, at which a worker makes no more


class Ask(Struct, frozen=True, array_like=True):
    """One request to one model."""

    request_id: UUID
    account_id: UUID
    deadline: float  # Unix seconds; absolute, so that no hop can stretch it; of a stream's start
    input: bytes  # JSON of the task's input type, checked by the edge
    priority: int = 0  # higher goes first
    traceparent: str = ""  # W3C trace context, empty where the caller sent none
    stream: bool = False  # answer in chunks; only tasks with a `piece` can


class Timing(Struct, frozen=True, array_like=True):
    """Where a worker spent a request's time, in milliseconds."""

    tokenize_ms: float = 0.0
    queue_ms: float = 0.0
    compute_ms: float = 0.0


class Answered(Struct, frozen=True, array_like=True, tag="answered"):
    """The model's answer.

    It is published with a subject to reply to, as `Ended` is: where to ask this worker and no
    other (`direct_subject`).
    """

    result: bytes  # JSON of the task's result type
    quantities: Quantities
    timing: Timing
    room: int = 1  # requests that who hears this may let go on to this worker
    idle: bool = False  # whether it holds nothing else


class Chunk(Struct, frozen=True, array_like=True, tag="chunk"):
    """A piece of a stream."""

    index: int  # 0, 1, 2, ...: a gap is a loss
    piece: bytes  # JSON of the task's piece type
    quantities: Quantities  # of the stream so far, with this piece


class Ended(Struct, frozen=True, array_like=True, tag="ended"):
    """The end of a stream, after its last chunk."""

    reason: Literal["stop", "length", "cancelled"]  # said all, was cut off, was told to stop
    chunks: int  # how many there were
    quantities: Quantities  # of the whole stream
    timing: Timing
    room: int = 1  # both as of `Answered`
    idle: bool = False


class Refused(Struct, frozen=True, array_like=True, tag="refused"):
    """The model will not take this input, and the caller can mend it."""

    code: str  # snake_case, stable
    message: str  # for the caller: what is wrong and what to do
    status: Annotated[int, Meta(ge=400, le=499)] = 422
    param: str | None = None  # the input's field


class Busy(Struct, frozen=True, array_like=True, tag="busy"):
    """Not taken: enough waits here, or the worker is leaving. Nothing was executed."""

    queued: int
    wait_ms: float  # until there is room, as far as the worker can tell
    each_ms: float = 0.0  # of the device's time for one request, lately; 0: not known


class Expired(Struct, frozen=True, array_like=True, tag="expired"):
    """Dropped: its deadline had passed, or nobody waits for it any more."""

    quantities: Quantities = NOTHING  # of a text that was being generated: what was until then


class Failed(Struct, frozen=True, array_like=True, tag="failed"):
    """The model raised. The reason is in the worker's log, under the request's id."""


class Working(Struct, frozen=True, array_like=True, tag="working"):
    """Taken, still alive, not done; sent every HEARTBEAT_S."""


Reply = Answered | Chunk | Ended | Refused | Busy | Expired | Failed | Working

_encoder: Final = msgspec.msgpack.Encoder()
_ask_decoder: Final = msgspec.msgpack.Decoder(Ask)
_reply_decoder: Final[msgspec.msgpack.Decoder[Reply]] = msgspec.msgpack.Decoder(Reply)


def subject(model: str, task: str) -> str:
    """The subject that asks `model` for `task`."""
    return f"inference.{token(model)}.{token(task)}"


def direct_subject(worker: str, model: str, task: str) -> str:
    """The subject that asks one worker, by the inbox that its answers name."""
    return f"{worker}.{subject(model, task)}"


def cancel_subject(request_id: UUID) -> str:
    """Where to publish that nobody waits for a request any more; the message is empty."""
    return f"cancel.{request_id}"


def cancelled(subject: str) -> UUID:
    """The request that a message of `CANCELS` is about.

    Raises:
        ValueError: it is about none.
    """
    return UUID(subject.partition(".")[2])


def encode_read(chunks: int) -> bytes:
    """How many chunks of a stream its reader has taken."""
    return b"%d" % chunks


def decode_read(message: bytes) -> int:
    """Read what `encode_read` wrote.

    Raises:
        ValueError: it is no number.
    """
    return int(message)


def encode(message: Ask | Reply) -> bytes:
    """The message as MessagePack."""
    return _encoder.encode(message)


def decode_ask(message: bytes) -> Ask:
    """Read a request.

    Raises:
        msgspec.DecodeError: it is not one.
    """
    return _ask_decoder.decode(message)


def decode_reply(message: bytes) -> Reply:
    """Read a reply.

    Raises:
        msgspec.DecodeError: it is not one.
    """
    return _reply_decoder.decode(message)

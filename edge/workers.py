"""Asking a model's workers, and hearing from them."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import count
from typing import Any, Final
from uuid import UUID

import msgspec
import nats.errors
import structlog
from msgspec.structs import replace
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from edge import metrics
from edge.errors import (
    BadReply,
    BodyTooLarge,
    BrokerAway,
    DeadlinePassed,
    EdgeError,
    ModelBusy,
    ModelNotRunning,
    RefusedByModel,
    WorkerFailed,
    WorkerGone,
)
from edge.incoming import Incoming
from edge.room import Room
from events import broker, inference
from events.inference import (
    SILENCE_S,
    Answered,
    Ask,
    Busy,
    Chunk,
    Ended,
    Expired,
    Failed,
    Refused,
    Reply,
)
from events.models import HOLD_S
from events.usage import NOTHING, Quantities

log = structlog.get_logger()

BACKOFF_S: Final = (0.01, 0.02, 0.05, 0.1, 0.2)  # between tries while no worker is there
STOP_S: Final = 2.0  # for a worker to say what it did until it was told to stop


Left = Callable[[Quantities], object]


class _NobodyThere(Exception):
    """No worker has subscribed; nothing was executed."""


class Workers:
    """Core NATS request-reply, with heartbeats: one inbox for all that this edge asks.

    Args:
        connection: To the broker.
        retry_s: How long to go on asking where nobody is there.
        max_wait_s: How long a request may wait for a model's workers to have room.
        max_waiting: Requests that may wait for a model's workers to have room.
        serving: How many workers a model has now.
    """

    def __init__(
        self,
        connection: Client,
        *,
        retry_s: float,
        max_wait_s: float,
        max_waiting: int,
        serving: Callable[[str], int],
    ) -> None:
        self._connection = connection
        self._serving = serving
        self._retry_s = retry_s
        self._max_wait_s = max_wait_s
        self._max_waiting = max_waiting
        self._rooms: dict[str, Room] = {}  # by model
        self._prefix = ""
        self._numbers = count()
        self._pending: dict[str, Incoming] = {}
        self._subscription: Subscription | None = None

    async def start(self) -> None:
        """Open the inbox; the connection must be up."""
        self._prefix = self._connection.new_inbox() + "."
        self._subscription = await self._connection.subscribe(
            self._prefix + "*", cb=self._hear, pending_msgs_limit=0, pending_bytes_limit=0
        )
        await broker.settle(self._connection)  # before the first answer can come

    async def watch(self) -> None:
        """Give up on workers that fell silent, for ever."""
        while True:
            asleep = time.monotonic()
            await asyncio.sleep(SILENCE_S / 4)
            now = time.monotonic()
            if now - asleep > SILENCE_S / 2:
                continue  # this process stood still: what was said meanwhile is yet to be heard
            for incoming in self._pending.values():
                if incoming.is_silent(now - SILENCE_S):
                    message = "the worker that took the request died; try again"
                    incoming.fail(WorkerGone(message, retry_after_s=1))

    async def ask(self, model: str, task: str, ask: Ask, *, left: Left | None = None) -> Answered:
        """The model's answer; raises as `open`, and also where it is none.

        Args:
            model: Whose.
            task: Of the model's.
            ask: The request.
            left: If this is cancelled, told what was used until the worker stopped, should
                it say so in time.
        """
        incoming = await self.open(model, task, ask, left=left)
        incoming.close()
        reply = await incoming.next()
        if not isinstance(reply, Answered):
            raise refusal(reply, model, task)
        if incoming.waited_s:
            queue_ms = reply.timing.queue_ms + 1_000 * incoming.waited_s
            reply = replace(reply, timing=replace(reply.timing, queue_ms=queue_ms))
        return reply

    async def open_stream(self, model: str, task: str, ask: Ask) -> Incoming:
        """The model's stream, once there is something of it; raises as `ask`."""
        incoming = await self.open(model, task, ask)
        reply = await incoming.first(ask.deadline)
        if isinstance(reply, Chunk | Ended):
            return incoming
        incoming.close()
        raise refusal(reply, model, task)

    async def open(self, model: str, task: str, ask: Ask, *, left: Left | None = None) -> Incoming:
        """What a model says to a request, once it has said something, to be closed.

        Where nothing was executed it is asked again: where nobody is there with backoff, for
        `retry_s` at most; where workers are full a few times at once, for another may have
        room, and then when it is its turn in the model's `Room`, for `max_wait_s` at most.

        Raises:
            BodyTooLarge: more than the broker takes in one message.
            ModelNotRunning, ModelBusy, BrokerAway: answered 503; nothing was executed.
            WorkerGone, BadReply: answered 502.
            DeadlinePassed: answered 504.
        """
        subject = inference.subject(model, task)
        payload = inference.encode(ask)
        room = self._room(model)
        place = room.place(ask.priority, until=min(ask.deadline, time.time() + self._max_wait_s))
        worker = room.idle() if room.is_empty() else await room.wait(place)  # empty: any
        absent = full = 0  # how often in a row
        give_up = 0.0
        while True:
            to = inference.direct_subject(worker, model, task) if worker else subject
            try:
                incoming = await self._try(to, payload, ask, room, left=left)
            except _NobodyThere:
                if worker:  # it has left, and others have not
                    worker = ""
                    continue
                if not absent:
                    give_up = min(ask.deadline, time.time() + self._retry_s)
                wait_s = BACKOFF_S[min(absent, len(BACKOFF_S) - 1)]
                if time.time() + wait_s > give_up:
                    message = f"model {model!r} is declared, but no worker serves it now"
                    raise ModelNotRunning(message, retry_after_s=HOLD_S) from None
                await asyncio.sleep(wait_s)
                absent += 1
                continue
            if incoming is not None:
                incoming.waited_s = place.waited_s
                return incoming
            absent, full = 0, full + 1
            if worker and place.waited_s:  # it said that it had room, and others were quicker
                worker, full = await room.wait(place), 0
            elif full >= room.tries:
                worker, full = await room.wait(place, refused=True), 0
            else:
                worker = ""

    async def _try(
        self, subject: str, payload: bytes, ask: Ask, room: Room, *, left: Left | None
    ) -> Incoming | None:
        """Ask once; None where the worker that was asked is full, and the room has heard so."""
        number = str(next(self._numbers))
        incoming = self._expect(ask.request_id, number, room)
        try:
            await self._publish(subject, payload, number)
            reply = await incoming.first(ask.deadline)
        except _NobodyThere:
            del self._pending[number]
            raise
        except BaseException as error:
            try:
                await incoming.cancel()
                if left is not None and isinstance(error, asyncio.CancelledError):
                    await _hear_out(incoming, left)
            finally:
                incoming.close()
            raise
        if isinstance(reply, Busy):
            del self._pending[number]
            room.hear(reply)
            return None
        return incoming

    def _room(self, model: str) -> Room:
        room = self._rooms.get(model)
        if room is None:
            workers = partial(self._serving, model)
            room = self._rooms[model] = Room(model, holds=self._max_waiting, workers=workers)
        return room

    def _expect(self, request_id: UUID, number: str, room: Room) -> Incoming:
        def done() -> None:
            if incoming.is_idle:
                room.hear_idle(incoming.worker)
            room.release(max(incoming.room, incoming.is_idle), incoming.worker)

        forget = partial(self._pending.pop, number, None)
        incoming = Incoming(self._connection, request_id, done=done, forget=forget)
        self._pending[number] = incoming
        return incoming

    async def _publish(self, subject: str, payload: bytes, number: str) -> None:
        try:
            await self._connection.publish(subject, payload, reply=self._prefix + number)
        except nats.errors.MaxPayloadError as error:
            message = "the body is larger than the message broker takes; send less at a time"
            raise BodyTooLarge(message) from error
        except (nats.errors.Error, OSError) as error:
            message = "the message broker is away; nothing was executed, try again"
            raise BrokerAway(message, retry_after_s=1) from error

    async def _hear(self, message: Msg) -> None:
        incoming = self._pending.get(message.subject[len(self._prefix) :])
        if incoming is None:
            return  # an answer after the deadline: nobody is billed for it
        if message.headers and message.headers.get("Status") == "503":
            incoming.fail(_NobodyThere())
            return
        try:
            incoming.hear(inference.decode_reply(message.data), message.reply)
        except msgspec.DecodeError as error:
            log.error("reply_unreadable", subject=message.subject, error=str(error))
            incoming.fail(BadReply("the model's answer could not be read; it is not billed"))


async def _hear_out(incoming: Incoming, left: Left) -> None:
    """Tell what was used of a request that was stopped."""
    with suppress(TimeoutError, EdgeError, _NobodyThere):
        async with asyncio.timeout(STOP_S):
            reply = await incoming.next()
            if isinstance(reply, Answered | Expired) and reply.quantities != NOTHING:
                left(reply.quantities)


def refusal(reply: Reply, model: str, task: str) -> EdgeError:
    """What the caller hears of a reply that is no answer."""
    match reply:
        case Refused(code=code, message=message, status=status, param=param):
            return RefusedByModel(message, status=status, code=code, param=param)
        case Failed():
            return WorkerFailed(f"{model!r} failed at {task!r}")
        case Expired():
            return DeadlinePassed("the request waited too long for its turn; it is not billed")
        case Busy():  # a worker that leaves gives back what it has not begun
            return ModelBusy("the worker is leaving; try again", retry_after_s=1)
    return BadReply(f"{model!r} gave an answer of another kind than was asked for")


def require_shape(
    decode: Callable[[bytes], Any], body: bytes, model: str, task: str, what: str
) -> Any:  # noqa: ANN401 - whatever the task gives
    """Read what a worker gave, if it is what the documentation promises; else it is not billed.

    Raises:
        BadReply: it is not.
    """
    try:
        return decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        log.error("bad_reply", model=model, task=task, error=str(error))
        metrics.BAD_REPLIES.labels(model, task).inc()
        message = f"{model!r} gave {what} of the wrong shape; it is not billed"
        raise BadReply(message) from error

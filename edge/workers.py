"""Asking a model's workers, and hearing from them."""

import asyncio
import time
from itertools import count
from typing import Final

import msgspec
import nats.errors
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

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
from events import broker, inference
from events.inference import (
    SILENCE_S,
    Answered,
    Ask,
    Busy,
    Expired,
    Failed,
    Refused,
    Reply,
    Working,
)
from events.models import HOLD_S

log = structlog.get_logger()

BACKOFF_S: Final = (0.01, 0.02, 0.05, 0.1, 0.2)  # between tries at a worker with room


class _NobodyThere(Exception):
    """No worker has subscribed; nothing was executed."""


class _Pending:
    """One ask without its answer yet."""

    __slots__ = ("heard", "reply")

    def __init__(self, reply: asyncio.Future[Reply], heard: float) -> None:
        self.reply = reply
        self.heard = heard  # when its worker last gave a sign, by the monotonic clock


class Workers:
    """Core NATS request-reply, with heartbeats: one inbox for all that this edge asks."""

    def __init__(self, connection: Client, *, retry_s: float) -> None:
        self._connection = connection
        self._retry_s = retry_s
        self._prefix = ""
        self._numbers = count()
        self._pending: dict[str, _Pending] = {}
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
            silent = now - SILENCE_S
            for pending in self._pending.values():
                if pending.heard < silent and not pending.reply.done():
                    message = "the worker that took the request died; it is not billed, try again"
                    pending.reply.set_exception(WorkerGone(message, retry_after_s=1))

    async def ask(self, model: str, task: str, ask: Ask) -> Answered:
        """The model's answer.

        Where nothing was executed (nobody there, or busy) it is asked again, with
        backoff, for `retry_s` at most.

        Raises:
            BodyTooLarge: more than the broker takes in one message.
            ModelNotRunning, ModelBusy, BrokerAway: answered 503; nothing was executed.
            WorkerFailed, WorkerGone, BadReply: answered 502.
            DeadlinePassed: answered 504.
            RefusedByModel: answered with the model's own 4xx.
        """
        subject = inference.subject(model, task)
        payload = inference.encode(ask)
        give_up = min(ask.deadline, time.time() + self._retry_s)
        attempt = 0
        while True:
            refusal: EdgeError
            try:
                reply = await self._once(subject, payload, ask.deadline)
            except _NobodyThere:
                message = f"model {model!r} is declared, but no worker serves it now"
                refusal = ModelNotRunning(message, retry_after_s=HOLD_S)
                wait_s = _backoff(attempt)
            else:
                if not isinstance(reply, Busy):
                    return _answer(reply, model, task)
                wait_s = max(_backoff(attempt), min(reply.wait_ms / 1_000, 1.0))
                message = f"every worker of {model!r} is full: {reply.queued} requests wait"
                refusal = ModelBusy(message, retry_after_s=max(1.0, reply.wait_ms / 1_000))
            if time.time() + wait_s > give_up:
                raise refusal
            await asyncio.sleep(wait_s)
            attempt += 1

    async def _once(self, subject: str, payload: bytes, deadline: float) -> Reply:
        loop = asyncio.get_running_loop()
        number = str(next(self._numbers))
        future: asyncio.Future[Reply] = loop.create_future()
        self._pending[number] = _Pending(future, time.monotonic())
        timer = loop.call_later(deadline - time.time(), _too_late, future)
        try:
            await self._connection.publish(subject, payload, reply=self._prefix + number)
            return await future
        except nats.errors.MaxPayloadError as error:
            message = "the body is larger than the message broker takes; send less at a time"
            raise BodyTooLarge(message) from error
        except (nats.errors.Error, OSError) as error:
            message = "the message broker is away; nothing was executed, try again"
            raise BrokerAway(message, retry_after_s=1) from error
        finally:
            timer.cancel()
            del self._pending[number]

    async def _hear(self, message: Msg) -> None:
        pending = self._pending.get(message.subject[len(self._prefix) :])
        if pending is None or pending.reply.done():
            return  # an answer after the deadline: nobody is billed for it
        if message.headers and message.headers.get("Status") == "503":
            pending.reply.set_exception(_NobodyThere())
            return
        try:
            reply = inference.decode_reply(message.data)
        except msgspec.DecodeError as error:
            log.error("reply_unreadable", subject=message.subject, error=str(error))
            pending.reply.set_exception(
                BadReply("the model's answer could not be read; it is not billed")
            )
            return
        if isinstance(reply, Working):
            pending.heard = time.monotonic()
        else:
            pending.reply.set_result(reply)


def _answer(reply: Reply, model: str, task: str) -> Answered:
    match reply:
        case Answered():
            return reply
        case Refused(code=code, message=message, status=status, param=param):
            raise RefusedByModel(message, status=status, code=code, param=param)
        case Failed():
            raise WorkerFailed(f"{model!r} failed at {task!r}; it is not billed")
        case Expired():
            raise DeadlinePassed("the request waited too long for its turn; it is not billed")
    raise AssertionError(reply)  # Busy and Working do not come here


def _too_late(future: asyncio.Future[Reply]) -> None:
    if not future.done():
        message = "the model did not answer in time; it is not billed"
        future.set_exception(DeadlinePassed(message))


def _backoff(attempt: int) -> float:
    return BACKOFF_S[min(attempt, len(BACKOFF_S) - 1)]

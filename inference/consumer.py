"""The worker's side of the wire: takes requests, answers them, shows signs of life."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, NoReturn
from uuid import UUID

import msgspec
import structlog
from msgspec.structs import replace
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error, MaxPayloadError

from events import broker, inference
from events.inference import (
    CANCELS,
    HEARTBEAT_S,
    WORKERS,
    Answered,
    Busy,
    Chunk,
    Ended,
    Refused,
    Reply,
    Working,
)
from events.tasks.task import Task
from inference.job import Job, Outcome, Ran, Wrote
from inference.pipeline import Pipeline

log = structlog.get_logger()

LEAVE_S: Final = 2.0  # for the broker to confirm that we left a queue group

_BAD_INPUT = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Consumer:
    """Listens for every model of this worker."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._reads = client.new_inbox()  # of this worker; a stream's reader answers below it
        self._direct = client.new_inbox()  # whoever has heard of room asks this worker below it
        self._subscriptions: list[Subscription] = []
        self._pipelines: list[Pipeline] = []
        self._leaving = False

    async def listen(self) -> None:
        """Hear from now on who waits no longer, and how far the readers of streams are.

        Until the connection is closed: a worker that leaves has streams to finish.
        """
        await self._client.subscribe(CANCELS, cb=self._cancel)
        await self._client.subscribe(f"{self._reads}.*", cb=self._read)
        await broker.settle(self._client)

    async def subscribe(self, model: str, tasks: Sequence[Task], pipeline: Pipeline) -> None:
        """Join the queue group that does these tasks of a model, and be there to be asked alone."""
        self._pipelines.append(pipeline)
        for task in tasks:
            take = self._taker(model, task, pipeline)
            for subject, queue in (
                (inference.subject(model, task.name), WORKERS),
                (inference.direct_subject(self._direct, model, task.name), ""),
            ):
                subscription = await self._client.subscribe(subject, queue=queue, cb=take)
                self._subscriptions.append(subscription)
        await broker.settle(self._client)

    def _taker(
        self, model: str, task: Task, pipeline: Pipeline
    ) -> Callable[[Msg], Awaitable[None]]:
        async def take(message: Msg) -> None:
            try:
                ask = inference.decode_ask(message.data)
            except msgspec.DecodeError as error:
                log.warning("ask_malformed", model=model, task=task.name, error=str(error))
                return
            if not message.reply:
                log.warning("ask_without_inbox", model=model, task=task.name)
                return
            if self._leaving:
                await self._reply(message.reply, Busy(queued=0, wait_ms=0.0))
                return
            if (busy := pipeline.busy()) is not None:
                await self._reply(message.reply, busy)
                return
            if ask.stream and task.piece is None:
                await self._reply(
                    message.reply, Refused("not_streamable", f"{task.name} has no pieces.")
                )
                return
            try:
                value = task.decode_input(ask.input)
            except _BAD_INPUT as error:  # the edge checks too, and may be of another version
                await self._reply(message.reply, Refused("invalid_input", str(error)))
                return
            pipeline.submit(Job(ask, model, task, value, message.reply, time.monotonic()))

        return take

    async def _cancel(self, message: Msg) -> None:
        try:
            request_id = inference.cancelled(message.subject)
        except ValueError:
            log.warning("cancel_malformed", subject=message.subject)
            return
        for pipeline in self._pipelines:
            pipeline.cancel(request_id)

    async def _read(self, message: Msg) -> None:
        try:
            request_id = UUID(message.subject.rpartition(".")[2])
            chunks = inference.decode_read(message.data)
        except ValueError:
            log.warning("read_malformed", subject=message.subject)
            return
        for pipeline in self._pipelines:
            pipeline.read(request_id, chunks)

    async def answer(self, said: Sequence[tuple[Job, Outcome | Wrote]]) -> None:
        """Tell callers what became of their requests, or the next piece of their streams."""
        for job, outcome in said:
            match outcome:
                case Wrote():
                    answer_to = f"{self._reads}.{job.ask.request_id}"
                case Ran() | Ended() if not self._leaving:
                    answer_to = self._direct
                case _:
                    answer_to = ""
            await self._reply(job.reply_to, _reply(job, outcome), answer_to=answer_to)

    async def heartbeats(self) -> NoReturn:
        """Tell those that wait long that they do not wait in vain; until cancelled."""
        working = inference.encode(Working())
        while True:
            await asyncio.sleep(HEARTBEAT_S)
            since = time.monotonic() - HEARTBEAT_S
            for pipeline in self._pipelines:
                for job in pipeline.held:
                    if job.arrived <= since:
                        await self._publish(job.reply_to, working)

    def refuse(self) -> None:
        """From now on answer `Busy` to all that comes: the worker is leaving."""
        self._leaving = True

    async def leave(self) -> None:
        """Leave the queue groups, once all that was sent to us is here and answered.

        Neither of nats-py's own ways will do: `unsubscribe` drops what has arrived and
        waits, `drain` what arrives while the broker hears of it (see `broker.settle`).
        """
        try:
            async with asyncio.timeout(LEAVE_S):
                for subscription in self._subscriptions:
                    await self._client._send_unsubscribe(subscription._id)  # noqa: SLF001 - see above
                await broker.settle(self._client)
                for subscription in self._subscriptions:
                    await subscription.drain()  # type: ignore[no-untyped-call]  # nats-py has few types
        except (Error, OSError, TimeoutError) as error:
            log.warning("leave_failed", error=repr(error))

    async def _reply(self, subject: str, reply: Reply, *, answer_to: str = "") -> None:
        await self._publish(subject, inference.encode(reply), answer_to=answer_to)

    async def _publish(self, subject: str, message: bytes, *, answer_to: str = "") -> None:
        try:
            await self._client.publish(subject, message, reply=answer_to)
        except MaxPayloadError:
            too_large = Refused(
                "answer_too_large", "The answer is too large to be sent; ask for less at a time."
            )
            log.warning("answer_too_large", size=len(message))
            await self._reply(subject, too_large)
        except (Error, OSError) as error:  # the broker is away: the edge's wait has failed as well
            log.warning("reply_lost", error=repr(error))


def _reply(job: Job, outcome: Outcome | Wrote) -> Reply:
    match outcome:
        case Ran(result, quantities, timing):
            return Answered(job.task.encode(result), quantities, timing, job.room, job.is_last)
        case Wrote(index, piece, quantities):
            return Chunk(index, job.task.encode(piece), quantities)
        case Ended():
            return replace(outcome, room=job.room, idle=job.is_last)
    return outcome

"""An answer that is sent piece by piece, and metered while it is sent.

Every second what was delivered since is counted and metered, as a part of its own; and a
last part before the last event. So an edge that dies leaves at most a second unbilled.
Nothing is delivered that is not covered by every limit: when a budget is spent the
stream ends, and its last event says so.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog
from litestar.types import Receive, Send
from msgspec import Struct
from msgspec.structs import replace

from edge import metrics, sse
from edge.admission import Reservation
from edge.asgi import until_gone
from edge.dialect import StreamWriter
from edge.errors import BadReply, DeadlinePassed, EdgeError
from edge.incoming import Incoming
from edge.metering import Meter
from edge.workers import STOP_S, refusal, require_shape
from events.inference import Chunk, Ended, Reply
from events.plans import Plan
from events.tasks import Task
from events.usage import NOTHING, Quantities, Usage

log = structlog.get_logger()

PART_S: Final = 0.8  # with what it takes to meter a part: every second
QUIET_S: Final = 10.0  # most proxies hang up after a minute of silence
LAST_S: Final = 10.0  # for the last event to leave, however slow its reader

Headers = Sequence[tuple[bytes, bytes]]


class Going(Struct, frozen=True, kw_only=True):
    """A request that is being streamed: what it was admitted with, and whose it is.

    Args:
        task: What was asked for.
        writer: Of what is sent.
        plan: By which it was admitted.
        reservation: What is set aside for it.
        price: Adds the cost to quantities.
        still: Asks that its caller may go on, and extends what is set aside.
        fact: What all its parts have in common.
        started: When, by `time.perf_counter`.
        for_s: How long it may take.
    """

    task: Task
    writer: StreamWriter
    plan: Plan
    reservation: Reservation
    price: Callable[[Quantities], Quantities]
    still: Callable[[], Awaitable[None]]
    fact: Usage
    started: float
    for_s: float


class Stream:
    """One stream, from its first piece on.

    Args:
        going: The request.
        incoming: What the worker says; there is something of it.
        meter: Where parts are recorded.
        headers: Of the response.
    """

    def __init__(self, going: Going, incoming: Incoming, meter: Meter, headers: Headers) -> None:
        self._headers = [*sse.HEADERS, *headers]
        self._going = going
        self._incoming = incoming
        self._meter = meter
        self._delivered = NOTHING
        self._metered = NOTHING
        self._part = 0
        self._stored: list[Usage] = []

    async def deliver(self, headers: Headers, receive: Receive, send: Send) -> None:
        """Send the response, to its end or until the caller leaves; `headers` are more of it."""
        whole = False
        try:
            all_headers = [*headers, *self._headers]
            await send({"type": "http.response.start", "status": 200, "headers": all_headers})
            if begin := self._going.writer.begin():
                await _send(send, begin)
            end = await self._until_end(receive, send)
            whole = isinstance(end, Ended)
            if end is None:
                await self._leave()
            else:
                last = await self._last(end)
                async with asyncio.timeout(LAST_S):
                    await _send(send, last, more=False)
        except TimeoutError:
            log.info("stream_unread", request_id=str(self._going.fact.request_id))
        finally:
            if not whole:
                await self._incoming.cancel()
            self._incoming.close()
            self._going.reservation.end()

    async def _until_end(self, receive: Receive, send: Send) -> Ended | EdgeError | None:
        """Send pieces and meter them; how it ended, None if the caller left."""
        async with asyncio.TaskGroup() as tasks:
            sending = tasks.create_task(self._send_pieces(send))
            leaving = tasks.create_task(until_gone(receive))
            try:
                while True:
                    done, _ = await asyncio.wait(
                        {sending, leaving}, timeout=PART_S, return_when=asyncio.FIRST_COMPLETED
                    )
                    if leaving in done:
                        return None
                    if sending in done:
                        return sending.result()
                    try:
                        await self._go_on()
                    except EdgeError as error:
                        return error
            finally:
                sending.cancel()
                leaving.cancel()

    async def _send_pieces(self, send: Send) -> Ended | EdgeError:
        try:
            while True:
                reply = await self._next(send)
                if not isinstance(reply, Chunk | Ended):
                    return refusal(reply, self._going.fact.model, self._going.fact.task)
                piece = self._read(reply) if isinstance(reply, Chunk) else b""
                await self._cover(reply.quantities)
                if isinstance(reply, Ended):
                    return reply
                await _send(send, piece)
        except EdgeError as error:
            return error

    async def _next(self, send: Send) -> Reply:
        while True:
            try:
                async with asyncio.timeout(QUIET_S):
                    return await self._incoming.next()
            except TimeoutError:
                await _send(send, sse.COMMENT)

    def _read(self, chunk: Chunk) -> bytes:
        """What is to be sent of it.

        Raises:
            BadReply: it is not of the task's type.
        """
        fact, decode = self._going.fact, self._going.task.decode_piece
        value = require_shape(decode, chunk.piece, fact.model, fact.task, "a piece")
        return self._going.writer.piece(chunk.piece, value)

    async def _cover(self, quantities: Quantities) -> None:
        """See that every limit has room for all that was used by now; so it counts as delivered.

        Raises:
            BadReply: it has become less.
            EdgeError: a limit has no room.
        """
        used = self._going.price(quantities)
        try:
            used.since(self._delivered)
        except ValueError as error:
            raise BadReply("the model took back what it had said it used") from error
        await self._going.reservation.cover(used)
        self._delivered = used

    async def _go_on(self) -> None:
        """See that it may go on, and meter what was delivered since the last part.

        Raises:
            EdgeError: it may not go on.
        """
        if self._elapsed_s() > self._going.for_s:
            raise DeadlinePassed("the stream took too long; ask for less at a time")
        await self._going.still()
        if self._delivered != self._metered:
            await self._record(self._delivered)

    async def _last(self, end: Ended | EdgeError) -> bytes:
        """Meter what is left, if anything was delivered, then say how it ended."""
        try:
            if self._delivered != NOTHING:
                await self._record(self._delivered, duration_ms=self._duration_ms())
        except EdgeError as error:
            end = error
        metrics.STREAMS.labels(end.reason if isinstance(end, Ended) else end.code).inc()
        if isinstance(end, Ended):
            return self._going.writer.end(end.reason, self._delivered)
        return self._going.writer.cut(end, self._delivered)

    async def _leave(self) -> None:
        """Nobody reads any more: stop the worker, and bill by the plan's policy."""
        metrics.STREAMS.labels("disconnected").inc()
        policy = self._going.plan.disconnected
        await self._incoming.cancel()
        try:
            if policy == "free":
                await self._going.reservation.settle(NOTHING)
                for part in self._stored:
                    self._meter.void(part)
                return
            if policy == "generated":
                await self._hear_out()
            if self._delivered != NOTHING:
                await self._record(self._delivered, duration_ms=self._duration_ms())
        except EdgeError as error:
            request_id = str(self._going.fact.request_id)
            log.warning("part_not_metered", request_id=request_id, error=repr(error))

    async def _hear_out(self) -> None:
        """Take in all that was generated, sent or not."""
        try:
            async with asyncio.timeout(STOP_S):
                while True:
                    reply = await self._incoming.next()
                    if not isinstance(reply, Chunk | Ended):
                        return
                    await self._cover(reply.quantities)
                    if isinstance(reply, Ended):
                        return
        except (TimeoutError, EdgeError) as error:
            log.info("stream_not_heard_out", error=repr(error))

    async def _record(self, used: Quantities, *, duration_ms: int = 0) -> None:
        """Count a part, then meter it."""
        await self._going.reservation.settle(used)
        part = replace(
            self._going.fact,
            part=self._part,
            duration_ms=duration_ms,
            quantities=used.since(self._metered),
        )
        self._part += 1  # also if it fails: should it be stored after all, it is voided
        await self._meter.record(part)
        self._stored.append(part)
        self._metered = used

    def _duration_ms(self) -> int:
        return max(1, round(1_000 * self._elapsed_s()))  # 0 is of a part that is not the last

    def _elapsed_s(self) -> float:
        return time.perf_counter() - self._going.started


async def _send(send: Send, body: bytes, *, more: bool = True) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": more})

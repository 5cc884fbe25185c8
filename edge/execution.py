"""One request, admitted, asked of a model, counted and metered: in this order."""

import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final
from uuid import UUID

import structlog
from msgspec import Struct
from msgspec.structs import replace

from edge.admission import Admission, Admitted, Reservation
from edge.asgi import CALLER_GONE, Answer, CallerGone, Presence
from edge.auth import Caller
from edge.dialect import Asked
from edge.errors import EdgeError
from edge.metering import Meter
from edge.stream import Going, Stream
from edge.translation import Translator, ask_translated, most_translated
from edge.workers import Left, Workers, require_shape
from events.inference import Answered, Ask, Timing
from events.usage import NOTHING, Quantities, Usage

log = structlog.get_logger()

OPENING: Final = 16  # of what a stream gives, held before it begins


class Call(Struct, frozen=True, kw_only=True):
    """A request that is well formed, and whose caller is known."""

    caller: Caller
    asked: Asked
    body: bytes  # in which it was asked
    translator: Translator | None  # who stands between it and the model
    traceparent: str | None
    presence: Presence
    started: float  # time.perf_counter(), when its body was there
    is_job: bool = False


class Execution:
    """Has models answer.

    Args:
        admission: Says whether, and what it costs.
        workers: Are asked.
        meter: Hears what was used, before the caller hears anything.
        deadline_s: From the asking to the answer's first byte.
        stream_s: To a stream's last event.
    """

    def __init__(
        self,
        admission: Admission,
        workers: Workers,
        meter: Meter,
        *,
        deadline_s: float,
        stream_s: float,
    ) -> None:
        self._admission = admission
        self._workers = workers
        self._meter = meter
        self._deadline_s = deadline_s
        self._stream_s = stream_s

    async def whole(
        self, call: Call, request_id: UUID, *, metered_as: UUID | None = None
    ) -> Answer:
        """Admit, ask, check, count, meter: in this order; its usage event is durable then.

        Args:
            call: What is asked.
            request_id: Under which it is admitted.
            metered_as: Another one, where it may have been metered before.

        Raises:
            EdgeError: of every kind; nothing is billed.
            CallerGone: as `InferenceRoute.answer`.
        """
        target = call.asked.target
        admitted = await self._admission.admit(
            call.caller, target.model, target.task, request_id, lambda: _most(call)
        )
        spent: list[Quantities] = []  # by a request whose caller left
        # with a key the caller comes again, and pays then
        pays = admitted.plan.disconnected == "generated" and metered_as is None
        try:
            ask = self._ask_of(call, metered_as or request_id, admitted)
            with _refunding(admitted, spent), call.presence:
                answered, result, translated_ms = await self._ask(
                    call, ask, left=spent.append if pays else None
                )
            quantities = admitted.priced(answered.quantities)
            await admitted.settle(quantities)
            duration_ms = max(1, round((time.perf_counter() - call.started) * 1_000))
            fact = _fact(call, ask.request_id, admitted, quantities, duration_ms)
            await self._meter.record(fact, again=ask.request_id != request_id)
        except CallerGone:
            for used in spent:
                await self._charge(call, ask, admitted, used)
            raise
        except EdgeError as error:
            error.headers = admitted.headers()
            raise
        finally:
            admitted.end()
        took_ms = 1_000 * (time.perf_counter() - call.started)
        headers = [_server_timing(answered.timing, took_ms, translated_ms), *admitted.headers()]
        writer = call.asked.writer(ask.request_id)
        return Answer(writer.whole(answered.result, result, quantities), headers, metered_as)

    async def _charge(self, call: Call, ask: Ask, admitted: Admitted, used: Quantities) -> None:
        """Bill what was generated for a caller who has left."""
        quantities = admitted.priced(used)
        try:
            await admitted.settle(quantities)
            fact = _fact(call, ask.request_id, admitted, quantities)
            await self._meter.record(replace(fact, status=CALLER_GONE))
        except EdgeError as error:
            log.warning("left_not_metered", request_id=str(ask.request_id), error=repr(error))

    async def _ask(
        self, call: Call, ask: Ask, *, left: Left | None
    ) -> tuple[Answered, Any, float | None]:
        """The model's answer, as it came and as the task's type; `left` as `Workers.ask` has it.

        And the milliseconds that translators took, if one stood between.
        """
        model, task = call.asked.target.model, call.asked.task
        if call.translator is not None:
            return await ask_translated(
                self._workers, call.translator, ask, task, call.asked.value, model=model, left=left
            )
        answered = await self._workers.ask(model, task.name, ask, left=left)
        result = require_shape(task.decode_result, answered.result, model, task.name, "an answer")
        return answered, result, None

    async def stream(
        self, call: Call, request_id: UUID, renewed: Callable[[], Awaitable[Caller]]
    ) -> Stream:
        """Admit and ask; the rest is done while the stream is delivered.

        Only the input and a little of what may come of it are held in advance: a stream
        can be stopped when the budget is.

        Args:
            call: What is asked.
            request_id: Of the stream.
            renewed: The caller as the key says now; raises an `EdgeError` once it may not go on.

        Raises:
            EdgeError: of every kind; nothing is billed.
            CallerGone: it hung up before there was anything.
        """
        caller, asked = call.caller, call.asked
        target, task = asked.target, asked.task
        assert asked.stream_writer is not None, "what has a `stream` can be streamed"
        admitted = await self._admission.admit(
            caller, target.model, target.task, request_id, lambda: _opening(task.most(asked.value))
        )
        try:
            with _refunding(admitted), call.presence:
                ask = replace(self._ask_of(call, request_id, admitted), stream=True)
                incoming = await self._workers.open_stream(target.model, target.task, ask)
        except BaseException as error:
            admitted.end()
            if isinstance(error, EdgeError):
                error.headers = admitted.headers()
            raise
        reservation = Reservation(self._admission, admitted)

        async def still() -> None:
            now = await renewed()
            self._admission.require(now, target.model, target.task)
            await reservation.renew(now, target.model, target.task)

        going = Going(
            task=task,
            writer=asked.stream_writer(request_id),
            plan=admitted.plan,
            reservation=reservation,
            price=admitted.priced,
            still=still,
            fact=_fact(call, request_id, admitted),
            started=call.started,
            for_s=self._stream_s,
        )
        return Stream(going, incoming, self._meter, admitted.headers())

    def _ask_of(self, call: Call, request_id: UUID, admitted: Admitted) -> Ask:
        plan = admitted.plan
        return Ask(
            request_id=request_id,
            account_id=call.caller.account.id,
            deadline=time.time() + self._deadline_s,
            input=call.asked.input,
            priority=plan.priority_of_jobs() if call.is_job else plan.priority,
            traceparent=call.traceparent or "",
        )


@contextmanager
def _refunding(admitted: Admitted, spent: Sequence[Quantities] = ()) -> Iterator[None]:
    """Keep nothing for a request that a model does not answer, unless something was spent on it."""
    try:
        yield
    except EdgeError as error:
        admitted.refund(unused=error.unused)
        raise
    except BaseException:
        if not spent:
            admitted.refund(unused=False)
        raise


def _fact(
    call: Call,
    request_id: UUID,
    admitted: Admitted,
    quantities: Quantities = NOTHING,
    duration_ms: int = 0,
) -> Usage:
    return Usage(
        request_id=request_id,
        account_id=call.caller.account.id,
        key_id=call.caller.key.id,
        model=call.asked.target.model,
        task=call.asked.target.task,
        duration_ms=duration_ms,
        quantities=quantities,
        plan=admitted.plan.name,
        rates=admitted.rates,
    )


def _most(call: Call) -> Quantities:
    """The most that a request can be billed by."""
    if call.translator is not None:
        return most_translated(call.asked.task, call.asked.value)
    return call.asked.task.most(call.asked.value)


def _opening(most: Quantities) -> Quantities:
    """All that goes in, and a little of what may come out."""
    return replace(
        most,
        output_tokens=min(most.output_tokens, OPENING),
        output_words=min(most.output_words, OPENING),
        output_characters=min(most.output_characters, OPENING),
    )


def _server_timing(
    timing: Timing, took_ms: float, translated_ms: float | None
) -> tuple[bytes, bytes]:
    """Where the time since the whole body went; the edge has what is left of it."""
    parts = [timing.tokenize_ms, timing.queue_ms, timing.compute_ms]
    form = b"tokenize;dur=%.2f, queue;dur=%.2f, compute;dur=%.2f, "
    if translated_ms is not None:
        parts.append(translated_ms)
        form += b"translate;dur=%.2f, "
    left_ms = max(0.0, took_ms - sum(parts))
    return (b"server-timing", form % tuple(parts) + b"edge;dur=%.2f" % left_ms)

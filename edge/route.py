"""The inference route: one request from its first byte to its metered answer."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final
from uuid import UUID

from litestar.types import Receive, Scope
from msgspec import Struct
from msgspec.structs import replace

from edge.admission import Admission, Admitted, Reservation
from edge.asgi import Answer, Presence, header, read_body
from edge.auth import Caller, Keys
from edge.called import Called, called
from edge.catalogue import Catalogue
from edge.dialect import Asked, Dialect
from edge.endpoint import Endpoint, Perspective
from edge.errors import EdgeError, InvalidParameter, MethodNotAllowed, UnknownTask
from edge.failures import UNKNOWN, Failures
from edge.idempotency import Idempotency
from edge.jobs.intake import Intake, Waiting, prefers_async
from edge.jobs.outcome import is_hopeful
from edge.metering import Meter
from edge.native import Native
from edge.stream import Going, Stream
from edge.translation import Translator, ask_translated, most_translated
from edge.workers import Workers, require_shape
from events.inference import Answered, Ask, Timing
from events.jobs import Job
from events.tasks import Task
from events.usage import NOTHING, Quantities, Usage

OPENING: Final = 16  # of what a stream gives, held before it begins


class _Call(Struct, frozen=True, kw_only=True):
    """A request that is well formed, and whose caller is known."""

    caller: Caller
    asked: Asked
    translator: Translator | None  # who stands between it and the model
    traceparent: str | None
    presence: Presence
    started: float  # time.perf_counter(), when its body was there
    is_job: bool = False


class InferenceRoute:
    """Answers for every task that is declared."""

    def __init__(
        self,
        *,
        endpoints: Sequence[Endpoint],
        keys: Keys,
        catalogue: Catalogue,
        admission: Admission,
        idempotency: Idempotency,
        intake: Intake,
        workers: Workers,
        meter: Meter,
        failures: Failures,
        deadline_s: float,
        stream_s: float,
        max_body_bytes: int,
    ) -> None:
        self._tasks = _tasks(endpoints)
        self._dialects = {one.path.encode(): one.dialect for one in endpoints if one.dialect}
        self._keys = keys
        self._catalogue = catalogue
        self._admission = admission
        self._idempotency = idempotency
        self._intake = intake
        self._workers = workers
        self._meter = meter
        self._failures = failures
        self._deadline_s = deadline_s
        self._stream_s = stream_s
        self._max_body_bytes = max_body_bytes

    def dialect(self, raw_path: bytes) -> Dialect | None:
        """What is spoken at a path, as it was sent; None where no model is asked there."""
        if dialect := self._dialects.get(raw_path):
            return dialect
        target = called(raw_path)
        return Native(target, self._tasks.get(target.task)) if target else None

    async def answer(
        self, dialect: Dialect, request_id: UUID, scope: Scope, receive: Receive
    ) -> Answer | Stream:
        """One request's answer; once this returns, its usage event is durable.

        Or its stream, of which there is something by then, and which has to be delivered.

        The order is the contract: authenticate, read, check, admit, ask, check, count
        what was used, **meter**. What is refused anywhere in it was not billed.

        Raises:
            EdgeError: of every kind.
            CallerGone: it hung up, and what it asked for was stopped. Nothing is billed.
        """
        if scope.get("method") != "POST":
            raise MethodNotAllowed("send a POST with the task's input as JSON", allow="POST")
        caller = await self._keys.authenticate(header(scope, b"authorization"))
        target = dialect.target
        translator = None
        try:
            if target.model:
                translator = self._require(caller, target)
            body = await read_body(scope, receive, self._max_body_bytes)
            asked = dialect.read(body)
            if not target.model:
                target = asked.target
                translator = self._require(caller, target)
            call = _Call(
                caller=caller,
                asked=asked,
                translator=translator,
                traceparent=header(scope, b"traceparent"),
                presence=Presence(scope),
                started=time.perf_counter(),
            )
            return await self._answer(call, body, request_id, scope)
        except EdgeError as error:
            self._failures.note(caller, target.model or UNKNOWN, target.task, error)
            raise dialect.refusal(error) from error.__cause__

    async def run(self, job: Job, request_id: UUID, metered_as: UUID) -> bytes:
        """The answer to an asynchronous request, whose turn it is; it is metered.

        Args:
            job: What is asked.
            request_id: Under which it is admitted, now.
            metered_as: Another one, where it may have been metered before.

        Raises:
            EdgeError: of every kind; it is not billed.
        """
        caller = await self._keys.identify(job.key_hash)
        dialect = self.dialect(job.path)
        if dialect is None:  # an edge of another version took it
            raise UnknownTask("this edge does not serve that path any more", param="task")
        try:
            if dialect.target.model:
                translator = self._require(caller, dialect.target)
            asked = dialect.read(job.body)
            if not dialect.target.model:
                translator = self._require(caller, asked.target)
            call = _Call(
                caller=caller,
                asked=asked,
                translator=translator,
                traceparent=job.traceparent or None,
                presence=Presence(None),
                started=time.perf_counter(),
                is_job=True,
            )
            return (await self._execute(call, request_id, metered_as=metered_as)).body
        except EdgeError as error:
            if not is_hopeful(error):
                self._failures.note(caller, job.model, job.task, error)
            raise dialect.refusal(error) from error.__cause__

    async def _queue(self, call: "_Call", body: bytes, scope: Scope) -> Answer:
        waiting = Waiting(
            caller=call.caller,
            asked=call.asked,
            body=body,
            key_hash=self._keys.hash_of(header(scope, b"authorization")),
            priority=self._admission.plan(call.caller).priority_of_jobs(),
            traceparent=call.traceparent or "",
        )
        return await self._intake.take(waiting, scope)

    async def _answer(
        self, call: "_Call", body: bytes, request_id: UUID, scope: Scope
    ) -> Answer | Stream:
        if call.asked.target.asynchronous or (prefers_async(scope) and not call.asked.stream):
            return await self._queue(call, body, scope)
        key = header(scope, b"idempotency-key")
        if call.asked.stream:
            if key is not None:
                message = "a stream cannot be replayed: leave out `stream`, or the Idempotency-Key"
                raise InvalidParameter(message, param="Idempotency-Key")
            if call.translator is not None:
                theirs = call.translator.theirs
                message = (
                    f"an answer is translated into {theirs!r} when it is whole: leave out "
                    "`stream`, or the language"
                )
                raise InvalidParameter(message, param="stream")
            return await self._stream(call, request_id, header(scope, b"authorization"))
        if key is None:
            return await self._execute(call, request_id)
        target = call.asked.target
        named = [target.model, target.task, *([target.language] if call.translator else [])]
        same = b"\0".join((*(name.encode() for name in named), body))
        begun = await self._idempotency.begin(call.caller.account.id, key, same, request_id)
        if isinstance(begun, bytes):
            return Answer(begun, [(b"idempotent-replayed", b"true")])
        try:
            answer = await self._execute(call, request_id, metered_as=begun.request_id)
        except BaseException:
            await begun.release()
            raise
        await begun.complete(answer.body)
        return answer

    async def _execute(
        self, call: "_Call", request_id: UUID, *, metered_as: UUID | None = None
    ) -> Answer:
        """Admit, ask, check, count, meter: in this order."""
        target = call.asked.target
        admitted = await self._admission.admit(
            call.caller, target.model, target.task, request_id, lambda: _most(call)
        )
        try:
            ask = self._ask_of(call, metered_as or request_id, admitted)
            with _refunding(admitted), call.presence:
                answered, result, translated_ms = await self._ask(call, ask)
            quantities = admitted.priced(answered.quantities)
            await admitted.settle(quantities)
            duration_ms = max(1, round((time.perf_counter() - call.started) * 1_000))
            fact = _fact(call, ask.request_id, admitted, quantities, duration_ms)
            await self._meter.record(fact, again=ask.request_id != request_id)
        except EdgeError as error:
            error.headers = admitted.headers()
            raise
        finally:
            admitted.end()
        took_ms = 1_000 * (time.perf_counter() - call.started)
        headers = [_server_timing(answered.timing, took_ms, translated_ms), *admitted.headers()]
        writer = call.asked.writer(ask.request_id)
        return Answer(writer.whole(answered.result, result, quantities), headers, metered_as)

    async def _ask(self, call: "_Call", ask: Ask) -> tuple[Answered, Any, float | None]:
        """The model's answer, as it came and as the task's type.

        And the milliseconds that translators took, if one stood between.
        """
        model, task = call.asked.target.model, call.asked.task
        if call.translator is not None:
            return await ask_translated(
                self._workers, call.translator, ask, task, call.asked.value, model=model
            )
        answered = await self._workers.ask(model, task.name, ask)
        result = require_shape(task.decode_result, answered.result, model, task.name, "an answer")
        return answered, result, None

    async def _stream(self, call: "_Call", request_id: UUID, authorization: str | None) -> Stream:
        """Admit and ask; the rest is done while the stream is delivered.

        Only the input and a little of what may come of it are held in advance: a stream
        can be stopped when the budget is.
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
            now = await self._keys.authenticate(authorization)
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

    def _ask_of(self, call: "_Call", request_id: UUID, admitted: Admitted) -> Ask:
        plan = admitted.plan
        return Ask(
            request_id=request_id,
            account_id=call.caller.account.id,
            deadline=time.time() + self._deadline_s,
            input=call.asked.input,
            priority=plan.priority_of_jobs() if call.is_job else plan.priority,
            traceparent=call.traceparent or "",
        )

    def _require(self, caller: Caller, target: Called) -> Translator | None:
        """Check that there is what is asked for, and that the caller may have it.

        Returns:
            Who translates for the model, where it does not read the caller's language.
        """
        translator = self._catalogue.require(target.model, target.task, target.language)
        if target.task not in self._tasks:  # a worker announced what this edge does not declare
            raise UnknownTask(f"this edge does not serve {target.task!r}", param="task")
        self._admission.require(caller, target.model, target.task)
        return translator


@contextmanager
def _refunding(admitted: Admitted) -> Iterator[None]:
    """Keep nothing for a request that a model does not answer."""
    try:
        yield
    except EdgeError as error:
        admitted.refund(unused=error.unused)
        raise
    except BaseException:
        admitted.refund(unused=False)
        raise


def _fact(
    call: _Call,
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


def _most(call: _Call) -> Quantities:
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


def _tasks(endpoints: Iterable[Endpoint]) -> Mapping[str, Task]:
    """The tasks of those endpoints that are asked of models, by name."""
    tasks = {}
    for endpoint in endpoints:
        if endpoint.task or endpoint.dialect:
            # the meter needs an account to bill, so there is no other perspective
            assert endpoint.perspective is Perspective.APPLICATION, endpoint.name
        if endpoint.task is not None:
            tasks[endpoint.name] = endpoint.task
    return tasks


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

"""One request inside a worker, and what it is told."""

from pathlib import PurePath
from typing import Any

import structlog
from msgspec import Struct

from events.inference import Ask, Busy, Ended, Expired, Failed, Refused, Timing
from events.tasks.task import Task, TaskResult
from events.usage import Quantities
from inference.errors import InputRefused
from inference.models.model import Prepared

log = structlog.get_logger()


class Job(Struct, eq=False):
    """A request on its way through the worker; a set finds it by identity."""

    ask: Ask
    model: str
    task: Task
    value: Any  # an instance of what the task takes
    reply_to: str  # the subject that its replies go to
    arrived: float  # time.monotonic(), seconds
    prepared: Prepared | None = None  # once it is tokenized
    tokenize_s: float = 0.0
    started: bool = False  # by the device, or ended without it: too late to send it away
    ended: bool = False  # what became of it is decided
    left: Prepared | None = None  # of one that runs in parts: what has not begun to run
    found: list[Any] = []  # what the model made of what has run
    compute_s: float = 0.0  # of all batches that it was in
    device_ms: int = 0  # its share of them
    room: int = 0  # for others, that its answer tells of
    is_last: bool = False  # when it is answered, the worker holds nothing else


class Ran(Struct, frozen=True):
    """The model's answer, not yet encoded."""

    result: TaskResult
    quantities: Quantities
    timing: Timing


class Wrote(Struct, frozen=True):
    """The next piece of a stream, not yet encoded; more is to come."""

    index: int
    piece: TaskResult
    quantities: Quantities  # of the stream so far


Outcome = Ran | Ended | Refused | Busy | Expired | Failed  # what may become of a request


def timing(job: Job, *, now: float, compute_s: float) -> Timing:
    """Where a request's time went; the three add up to the time since it arrived."""
    queue_s = max(0.0, now - job.arrived - job.tokenize_s - compute_s)
    return Timing(
        tokenize_ms=1_000 * job.tokenize_s, queue_ms=1_000 * queue_s, compute_ms=1_000 * compute_s
    )


def outcome_of(job: Job, error: Exception) -> Refused | Failed:
    """What the caller hears of an error of the model's; logged here, and only here.

    The log names the type and the line and never the text of the error, which
    may quote the caller's.
    """
    if isinstance(error, InputRefused):
        return Refused(
            code=error.code, message=error.message, status=error.status, param=error.param
        )
    log.error(
        "model_failed",
        request_id=str(job.ask.request_id),
        model=job.model,
        task=job.task.name,
        error=type(error).__name__,
        at=_line(error),
    )
    return Failed()


def _line(error: Exception) -> str:
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    if trace is None:
        return ""
    return f"{PurePath(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"

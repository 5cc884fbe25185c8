"""One request inside a worker, and what may become of it."""

from pathlib import PurePath
from typing import Any

import structlog
from msgspec import Struct

from events.inference import Ask, Busy, Expired, Failed, Refused, Timing
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


class Ran(Struct, frozen=True):
    """The model's answer, not yet encoded."""

    result: TaskResult
    quantities: Quantities
    timing: Timing


Outcome = Ran | Refused | Busy | Expired | Failed


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

"""Running: one batch on the device."""

from collections.abc import Sequence
from functools import partial
from time import monotonic
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from inference.attempt import Attempt, attempt
from inference.job import Job, Outcome, Ran, outcome_of, timing
from inference.models.model import Answer, Divisible, Model, Prepared
from inference.share import apportion


class Part(Struct, frozen=True):
    """What one batch has of a request: all of it, or some of its rows."""

    job: Job
    prepared: Prepared
    last: bool = True


def run(model: Model, parts: Sequence[Part]) -> list[tuple[Job, Outcome]]:
    """Run a batch of tokenized requests of one task, or parts of them, in the model's thread.

    Returns:
        What became of those that are done. The requests' `device_ms` add up to the time
        of all batches, in whole milliseconds, divided by their tokens.
    """
    call = partial(_found, model, parts[0].job.task.name)
    return [ended for tried in attempt(call, parts) for ended in _outcomes(model, tried)]


def _found(model: Model, task: str, parts: Sequence[Part]) -> Sequence[Any]:
    """Answers, refusals; of a model that reads in parts, what it read."""
    prepared = [part.prepared for part in parts]
    return model.read(task, prepared) if isinstance(model, Divisible) else model.run(task, prepared)


def _outcomes(model: Model, tried: Attempt[Part, Any]) -> list[tuple[Job, Outcome]]:
    tokens = [part.prepared.tokens for part in tried.items]
    shares = apportion(round(1_000 * tried.seconds), tokens)
    ended = []
    for part, found, device_ms in zip(tried.items, tried.outcomes, shares, strict=True):
        job = part.job
        job.compute_s += tried.seconds
        job.device_ms += device_ms
        job.found.append(found)
        if part.last or isinstance(found, Exception):
            ended.append((job, _outcome(model, job)))
    return ended


def _outcome(model: Model, job: Job) -> Outcome:
    try:
        answer = _answer(model, job)
    except Exception as error:  # noqa: BLE001 - the boundary to models of any kind
        return outcome_of(job, error)
    return Ran(
        result=answer.result,
        quantities=replace(answer.quantities, device_ms=job.device_ms),
        timing=timing(job, now=monotonic(), compute_s=job.compute_s),
    )


def _answer(model: Model, job: Job) -> Answer:
    last = job.found[-1]
    if isinstance(last, Exception):
        raise last
    if isinstance(model, Divisible):
        assert job.prepared is not None, "only tokenized requests reach the device"
        return model.answer(job.task.name, job.prepared, job.found)
    answer: Answer = last
    return answer

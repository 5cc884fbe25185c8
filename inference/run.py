"""Running: one batch on the device."""

from collections.abc import Sequence
from functools import partial
from time import monotonic

from msgspec.structs import replace

from inference.attempt import Attempt, attempt
from inference.errors import InputRefused
from inference.job import Job, Outcome, Ran, outcome_of, timing
from inference.models.model import Answer, Model
from inference.share import apportion


def run(model: Model, jobs: Sequence[Job]) -> list[tuple[Job, Outcome]]:
    """Run a batch of tokenized requests of one task, in the model's thread.

    Returns:
        What became of each. The requests' `device_ms` add up to the batch's time,
        in whole milliseconds, divided by their tokens.
    """
    return [
        ended
        for tried in attempt(partial(_answers, model, jobs[0].task.name), jobs)
        for ended in _outcomes(tried)
    ]


def _answers(model: Model, task: str, jobs: Sequence[Job]) -> Sequence[Answer | InputRefused]:
    return model.run(task, [job.prepared for job in jobs if job.prepared is not None])


def _outcomes(tried: Attempt[Job, Answer]) -> list[tuple[Job, Outcome]]:
    tokens = [job.prepared.tokens if job.prepared else 0 for job in tried.items]
    shares = apportion(round(1_000 * tried.seconds), tokens)
    now = monotonic()
    return [
        (
            job,
            outcome_of(job, answer)
            if isinstance(answer, Exception)
            else Ran(
                result=answer.result,
                quantities=replace(answer.quantities, device_ms=device_ms),
                timing=timing(job, now=now, compute_s=tried.seconds),
            ),
        )
        for job, answer, device_ms in zip(tried.items, tried.outcomes, shares, strict=True)
    ]

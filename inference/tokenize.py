"""Tokenizing: all that waits, together."""

from collections.abc import Sequence
from functools import partial

from events.inference import Failed, Refused
from inference.attempt import attempt
from inference.errors import InputRefused
from inference.job import Job, outcome_of
from inference.models.model import Prepared, Tokenizes


def tokenize(model: Tokenizes, jobs: Sequence[Job]) -> list[tuple[Job, Refused | Failed]]:
    """Tokenize requests of any tasks, in the model's tokenizing thread.

    Sets each job's `prepared` and `tokenize_s`.

    Returns:
        Those that go no further, and what became of them.
    """
    ended: list[tuple[Job, Refused | Failed]] = []
    for of_one_task in _by_task(jobs):
        call = partial(_prepared, model, of_one_task[0].task.name)
        for tried in attempt(call, of_one_task):
            for job, outcome in zip(tried.items, tried.outcomes, strict=True):
                if isinstance(outcome, Exception):
                    ended.append((job, outcome_of(job, outcome)))
                else:
                    job.prepared = outcome
                    job.tokenize_s = tried.seconds
    return ended


def _prepared(
    model: Tokenizes, task: str, jobs: Sequence[Job]
) -> Sequence[Prepared | InputRefused]:
    return model.tokenize(task, [job.value for job in jobs])


def _by_task(jobs: Sequence[Job]) -> list[list[Job]]:
    groups: dict[str, list[Job]] = {}
    for job in jobs:
        groups.setdefault(job.task.name, []).append(job)
    return list(groups.values())

"""Jobs: asynchronous requests, from the edge that takes one to the edge that answers it.

A job waits under its own subject in JOBS, which is a queue; what became of it is the last
word under its subject in RESULTS. Whoever wants to run it, to finish it or to cancel it
writes there first, and only if nobody else has written since.
"""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

import msgspec
from msgspec import Struct

from events.ids import time_of
from events.subjects import name, token

SUBJECTS: Final = "jobs.>"
RESULTS_SUBJECTS: Final = "results.>"
COMPLETIONS_SUBJECTS: Final = "completions.>"

KEPT_S: Final = 86_400.0  # a result
SILENCE_S: Final = 15.0  # after which the edge that has a job in hand counts as dead
WEBHOOK: Final = "Tollgate-Webhook"  # a completion's header: where it is to be posted
ACCOUNT: Final = "account"  # in its place: to the account's own webhook


class Lane(StrEnum):
    """A queue of its own for what is more, and what is less, urgent than usual."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"

    @classmethod
    def of(cls, priority: int) -> "Lane":
        """Where a job of this priority waits."""
        if priority:
            return cls.HIGH if priority > 0 else cls.LOW
        return cls.NORMAL


class Job(Struct, frozen=True, kw_only=True):
    """A request that waits, with all that is needed to answer it later."""

    id: UUID  # version 7; not guessable
    account_id: UUID
    key_hash: bytes  # the key itself nobody has
    model: str
    task: str
    path: bytes  # as sent: it says how the request is spoken
    body: bytes  # as the caller sent it, decoded once and found good
    priority: int = 0
    url: str  # of its result; a path alone where it is not known where callers find us
    run_until: float  # Unix seconds; later it is not begun any more
    webhook: str = ""  # where its completion is to be posted: a URL, or `ACCOUNT`
    traceparent: str = ""

    @property
    def subject(self) -> str:
        """Where it waits. It says enough to list and to count jobs without reading them."""
        return (
            f"jobs.{Lane.of(self.priority)}.{self.account_id}.{self.id}"
            f".{token(self.model)}.{token(self.task)}.{len(self.body)}"
        )


class OpenJob(Struct, frozen=True, kw_only=True):
    """What a job's subject says of it."""

    subject: str
    id: UUID
    model: str
    task: str
    size: int  # bytes of its body


class Claimed(Struct, frozen=True, kw_only=True, tag="claimed"):
    """Somebody runs it, or has tried to."""

    request_id: UUID  # what it is metered under, whoever goes on with it
    running: bool  # False: given back
    lost: int = 0  # how often whoever ran it was not heard of again
    doubtful: bool = False  # whether something may be billed under that id


class Finished(Struct, frozen=True, kw_only=True, tag="finished"):
    """What came of it."""

    model: str
    task: str
    body: bytes
    http_code: int
    content: bytes = b""  # the answer, as a synchronous request would have got it
    error_detail: str = ""
    request_id: UUID | None = None  # what it was, or may be, billed under; None: it is not
    finished_on: datetime


class JobFinished(Struct, frozen=True, kw_only=True, tag_field="type", tag="job.finished"):
    """A job has a result. Stated for jobs whose caller wants to be told."""

    job_id: UUID
    account_id: UUID
    model: str
    task: str
    http_code: int  # what a synchronous request would have been answered
    url: str  # of the result, or its path alone
    created_on: datetime
    timestamp: datetime  # when it was finished

    @property
    def subject(self) -> str:
        """Where it is published."""
        return f"completions.{self.account_id}"


State = Claimed | Finished

_encoder: Final = msgspec.msgpack.Encoder()
_job: Final = msgspec.msgpack.Decoder(Job)
_state: Final[msgspec.msgpack.Decoder[State]] = msgspec.msgpack.Decoder(State)
_event: Final = msgspec.json.Decoder(JobFinished)


def encode(value: Job | State) -> bytes:
    """A job, or what became of one, as MessagePack: bodies stay as they are."""
    return _encoder.encode(value)


def decode(message: bytes) -> Job:
    """Read a job.

    Raises:
        msgspec.DecodeError: it is not one.
    """
    return _job.decode(message)


def decode_state(message: bytes) -> State:
    """Read what became of a job; raises as `decode`."""
    return _state.decode(message)


def encode_event(event: JobFinished) -> bytes:
    """The event as JSON."""
    return msgspec.json.encode(event)


def decode_event(message: bytes) -> JobFinished:
    """Read an event; raises as `decode`."""
    return _event.decode(message)


def result_subject(account_id: UUID, job_id: UUID) -> str:
    """Where it stands what became of a job."""
    return f"results.{account_id}.{job_id}"


def filter_of(lane: Lane) -> str:
    """The subjects of a lane's jobs."""
    return f"jobs.{lane}.>"


def filter_by(account_id: UUID, job_id: UUID | None = None) -> str:
    """The subjects of an account's jobs, or of one of them."""
    return f"jobs.*.{account_id}.{job_id or '*'}.>"


def account_of(subject: str) -> str:
    """Whose job it is by its subject, whatever else that says."""
    return subject.split(".")[2]


def read_subjects(subjects: Sequence[str]) -> Sequence[OpenJob]:
    """What subjects say, the oldest job first."""
    jobs = []
    for subject in subjects:
        _, _, _, job_id, model, task, size = subject.split(".")
        jobs.append(
            OpenJob(
                subject=subject, id=UUID(job_id), model=name(model), task=name(task), size=int(size)
            )
        )
    return sorted(jobs, key=lambda job: job.id)


def finished_event(job: Job, result: Finished) -> JobFinished:
    """What is stated of a result."""
    return JobFinished(
        job_id=job.id,
        account_id=job.account_id,
        model=job.model,
        task=job.task,
        http_code=result.http_code,
        url=job.url,
        created_on=time_of(job.id),
        timestamp=result.finished_on,
    )

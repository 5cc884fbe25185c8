"""Results of jobs, as they are kept and as callers get them."""

from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from msgspec import Struct

from edge.errors import EdgeError, JobCancelled, WorkerGone
from events.ids import time_of
from events.jobs import Finished, Job, OpenJob


class JobResult(Struct, frozen=True, kw_only=True):
    """What came of a job; the first six fields are those of NLP Cloud's clients."""

    created_on: datetime
    request_body: str
    finished_on: datetime
    http_code: int  # what a synchronous request would have got
    error_detail: str  # empty where `http_code` is 200
    content: str  # JSON: the task's result; empty where `http_code` is not 200
    request_id: UUID | None  # what it was, or may be, billed under; null: it is not billed


_LATER: Final = frozenset({429, 503})  # worth another attempt


def is_hopeful(error: EdgeError) -> bool:
    """Whether a job is worth another attempt after this."""
    return isinstance(error, WorkerGone) or (
        error.status in _LATER and error.retry_after_s is not None
    )


def answered(job: Job, content: bytes, request_id: UUID) -> Finished:
    """The result of a job that was answered."""
    return Finished(
        model=job.model,
        task=job.task,
        body=job.body,
        http_code=200,
        content=content,
        request_id=request_id,
        finished_on=datetime.now(UTC),
    )


def failed(job: Job, error: EdgeError, billed_as: UUID | None) -> Finished:
    """The result of one that was not; under `billed_as` it may have been metered."""
    return Finished(
        model=job.model,
        task=job.task,
        body=job.body,
        http_code=error.status,
        error_detail=f"{error.code}: {error.message}",
        request_id=billed_as,
        finished_on=datetime.now(UTC),
    )


def cancelled(job: OpenJob, body: bytes, billed_as: UUID | None) -> Finished:
    """The result of one that its caller did not want any more; `billed_as` as in `failed`."""
    return Finished(
        model=job.model,
        task=job.task,
        body=body,
        http_code=JobCancelled.status,
        error_detail=f"{JobCancelled.code}: it was cancelled before it ran",
        request_id=billed_as,
        finished_on=datetime.now(UTC),
    )


def shown(job_id: UUID, result: Finished) -> JobResult:
    """A result as its caller gets it."""
    return JobResult(
        created_on=time_of(job_id),
        request_body=result.body.decode(),
        finished_on=result.finished_on,
        http_code=result.http_code,
        error_detail=result.error_detail,
        content=result.content.decode(),
        request_id=result.request_id,
    )

"""An account's asynchronous requests that have no result yet."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from litestar.di import NamedDependency
from litestar.params import QueryParameter
from msgspec import Struct

from edge.auth import Caller
from edge.endpoint import API, Application, route
from edge.errors import BrokerAway
from edge.examples import Example
from edge.jobs.store import JobStore
from events.ids import time_of


class WaitingJob(Struct, frozen=True, kw_only=True):
    """One that waits or runs."""

    id: UUID
    model: str
    task: str
    created_on: datetime


class JobList(Struct, frozen=True, kw_only=True):
    """A page of them, oldest first."""

    data: Sequence[WaitingJob]
    has_more: bool  # then ask again, with `after` set to the last one's id


async def list_jobs(
    caller: NamedDependency[Caller],
    jobs: NamedDependency[JobStore],
    which: Annotated[  # noqa: ARG001 - no others are listed
        Literal["open"], QueryParameter(name="state")
    ] = "open",
    after: Annotated[UUID | None, QueryParameter(description="Only later ones than this.")] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=1_000)] = 100,
) -> JobList:
    """List them, as of now."""
    found = [
        WaitingJob(id=job.id, model=job.model, task=job.task, created_on=time_of(job.id))
        for job in await jobs.open(caller.account.id)
        if after is None or job.id > after
    ]
    return JobList(data=found[:limit], has_more=len(found) > limit)


endpoint = route(
    "GET",
    "/v1/jobs",
    list_jobs,
    description="The account's asynchronous requests that wait or run, oldest first, in pages.",
    perspective=Application,
    services={API},
    raises={BrokerAway},
    example=Example(query={"state": "open"}),
)

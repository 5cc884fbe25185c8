"""Taking one asynchronous request back."""

from uuid import UUID

from litestar.di import NamedDependency
from litestar.params import FromPath

from edge.auth import Caller
from edge.endpoint import API, Application, route
from edge.errors import BrokerAway, JobBegun, UnknownJob
from edge.examples import Example
from edge.jobs.store import JobStore


async def cancel_job(
    job_id: FromPath[UUID], caller: NamedDependency[Caller], jobs: NamedDependency[JobStore]
) -> None:
    """Cancel it, if it has not begun.

    Raises:
        UnknownJob: the account has none of this id, or no more.
        JobBegun: it runs, or is finished.
        BrokerAway: nobody can tell.
    """
    await jobs.cancel(caller.account.id, job_id)


endpoint = route(
    "DELETE",
    "/v1/jobs/{job_id:uuid}",
    cancel_job,
    description="Cancels an asynchronous request that has not begun; it is not billed. One that "
    "has is answered 409.",
    perspective=Application,
    services={API},
    status_code=204,
    raises={BrokerAway, JobBegun, UnknownJob},
    example=Example(
        path={"job_id": "NEW_JOB_ID"}, unless={409: "the job has begun, as it mostly has by then"}
    ),
)

"""What came of an asynchronous request."""

from typing import Any, Final
from uuid import UUID

from litestar import Response
from litestar.di import NamedDependency
from litestar.params import FromPath

from edge.auth import Caller
from edge.endpoint import API, Application, route
from edge.errors import BrokerAway, UnknownJob
from edge.jobs.outcome import JobResult, shown
from edge.jobs.store import JobStore

_NOTHING: Final[Any] = b""


async def get_job(
    job_id: FromPath[UUID], caller: NamedDependency[Caller], jobs: NamedDependency[JobStore]
) -> Response[JobResult]:
    """Read its result; there is none yet: 202, and nothing.

    Raises:
        UnknownJob: the account has none of this id, or no more.
        BrokerAway: nobody can tell.
    """
    result = await jobs.find(caller.account.id, job_id)
    if result is None:
        return Response(_NOTHING, status_code=202)
    return Response(shown(job_id, result), status_code=200)


endpoint = route(
    "GET",
    "/v1/jobs/{job_id:uuid}",
    get_job,
    description="The result of an asynchronous request, for a day. Until there is one: 202 with "
    "an empty body.",
    perspective=Application,
    services={API},
    any_scope=True,  # its id is known to whoever asked, and cannot be guessed
    also={202: "There is no result yet."},
    raises={BrokerAway, UnknownJob},
)

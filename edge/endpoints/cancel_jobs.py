"""Taking back all asynchronous requests that have not begun."""

from typing import Annotated, Literal

from litestar.di import NamedDependency
from litestar.params import QueryParameter
from msgspec import Struct

from edge.auth import Caller
from edge.endpoint import API, Application, route
from edge.errors import BrokerAway
from edge.examples import Example
from edge.jobs.store import JobStore


class Cancelled(Struct, frozen=True):
    """What came of it."""

    cancelled: int  # jobs; those that run already go on


async def cancel_jobs(
    caller: NamedDependency[Caller],
    jobs: NamedDependency[JobStore],
    which: Annotated[  # noqa: ARG001 - to be said, so that nobody cancels all by mistake
        Literal["open"], QueryParameter(name="state")
    ],
) -> Cancelled:
    """Cancel them."""
    return Cancelled(await jobs.cancel_all(caller.account.id))


endpoint = route(
    "DELETE",
    "/v1/jobs",
    cancel_jobs,
    description="Cancels all of the account's asynchronous requests that have not begun; none of "
    "them is billed.",
    perspective=Application,
    services={API},
    raises={BrokerAway},
    example=Example(query={"state": "open"}),
)

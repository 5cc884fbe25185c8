"""What a caller may do, and how much of it is left."""

import time
from collections.abc import Sequence

from litestar.di import NamedDependency
from msgspec import Struct

from edge.admission import Admission
from edge.admission.rule import Limit
from edge.auth import Caller
from edge.endpoint import API, Application, route
from edge.errors import BrokerAway


class Limits(Struct, frozen=True):
    """Every limit that concerns the key."""

    plan: str
    data: Sequence[Limit]


async def get_limits(
    caller: NamedDependency[Caller], admission: NamedDependency[Admission]
) -> Limits:
    """Ask the counters, which all edges share."""
    limits = await admission.limits(caller, int(time.time() * 1_000))
    return Limits(admission.plan(caller).name, limits)


endpoint = route(
    "GET",
    "/v1/limits",
    get_limits,
    description="Every limit that concerns the key: how much, how much is used, and when it "
    "resets. What other edges hold in readiness counts as used; money is in billionths.",
    perspective=Application,
    services={API},
    any_scope=True,
    raises={BrokerAway},
)

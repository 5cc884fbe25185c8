"""Should this process be sent requests?"""

from litestar.di import NamedDependency
from msgspec import Struct
from nats.aio.client import Client

from edge.endpoint import INTERNAL, Infrastructure, route
from edge.errors import BrokerAway


class Readiness(Struct, frozen=True):
    """It can answer inference requests."""

    status: str = "ready"


async def readyz(nats_client: NamedDependency[Client]) -> Readiness:
    """Ready while the broker is there.

    PostgreSQL is not asked: known keys go on working without it, and taking every
    edge out of rotation for it would turn a small outage into a whole one.
    """
    if not nats_client.is_connected:
        raise BrokerAway("the message broker is away", retry_after_s=1)
    return Readiness()


endpoint = route(
    "GET",
    "/readyz",
    readyz,
    description="Whether this process can answer requests now; 503 while it cannot.",
    perspective=Infrastructure,
    services={INTERNAL},
    raises={BrokerAway},
)

"""Is this process alive?"""

from msgspec import Struct

from edge.endpoint import INTERNAL, Infrastructure, route


class Health(Struct, frozen=True):
    """It answered, so it is."""

    status: str = "ok"


async def healthz() -> Health:
    """Say so; a process that cannot is to be restarted."""
    return Health()


endpoint = route(
    "GET",
    "/healthz",
    healthz,
    description="Whether this process lives. If it does not answer, restart it.",
    perspective=Infrastructure,
    services={INTERNAL},
)

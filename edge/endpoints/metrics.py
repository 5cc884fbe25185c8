"""Numbers for Prometheus."""

import os

from litestar import Response
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from edge.endpoint import INTERNAL, Infrastructure, route


async def get_metrics() -> Response[bytes]:
    """This process's metrics, or those of all that share its port."""
    registry = REGISTRY
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:  # the library's own switch
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call] # it has no types
    # Litestar says itself that it is UTF-8
    return Response(
        generate_latest(registry), media_type=CONTENT_TYPE_LATEST.partition("; charset")[0]
    )


endpoint = route(
    "GET",
    "/metrics",
    get_metrics,
    description="Prometheus metrics, in its text format.",
    perspective=Infrastructure,
    services={INTERNAL},
    media_types=("text/plain",),
)

"""The API's description, for programs."""

from typing import Any

from litestar.di import NamedDependency

from edge.endpoint import API, Public, route


async def get_openapi(openapi: NamedDependency[dict[str, Any]]) -> dict[str, Any]:
    """The document that `edge.openapi` made of the declarations."""
    return openapi


endpoint = route(
    "GET",
    "/openapi.json",
    get_openapi,
    description="This API as an OpenAPI 3.1 document.",
    perspective=Public,
    services={API},
)

"""What one request of anybody's has used."""

from litestar.di import NamedDependency
from litestar.params import FromPath

from edge.endpoint import API, Admin, route
from edge.errors import UnknownRequest
from edge.receipts import Receipts, RecordedRequest


async def get_any_request_usage(
    request_id: FromPath[str], receipts: NamedDependency[Receipts]
) -> RecordedRequest:
    """Read its record, and sign it."""
    return await receipts.find(request_id, None)


endpoint = route(
    "GET",
    "/v1/admin/usage/requests/{request_id:str}",
    get_any_request_usage,
    description="As /v1/usage/requests/{request_id}, of any account.",
    perspective=Admin,
    services={API},
    raises={UnknownRequest},
)

"""What one request of an account's has used."""

from litestar.di import NamedDependency
from litestar.params import FromPath

from edge.auth import Caller
from edge.endpoint import API, Application, route
from edge.errors import UnknownRequest
from edge.receipts import Receipts, RecordedRequest


async def get_request_usage(
    request_id: FromPath[str],
    caller: NamedDependency[Caller],
    receipts: NamedDependency[Receipts],
) -> RecordedRequest:
    """Read its record, and sign it."""
    return await receipts.find(request_id, caller.account.id)


endpoint = route(
    "GET",
    "/v1/usage/requests/{request_id:str}",
    get_request_usage,
    description="What one request used, by its `X-Request-Id`: quantities, cost, plan and prices, "
    "and a signed receipt of all that. It is there a second or two after the answer.",
    perspective=Application,
    services={API},
    raises={UnknownRequest},
)

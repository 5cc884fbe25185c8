"""What everybody has used."""

from typing import Annotated, Any
from uuid import UUID

from litestar import Request, Response
from litestar.di import NamedDependency
from litestar.params import QueryParameter

from edge.endpoint import API, JSON, Admin, route
from edge.examples import Example
from edge.reports import CSV, Asked, UsagePage, answer
from ledger.db import Pool


async def get_all_usage(
    request: Request[Any, Any, Any],
    pool: NamedDependency[Pool],
    asked: NamedDependency[Asked],
    account: Annotated[UUID | None, QueryParameter(description="Only this one.")] = None,
) -> Response[UsagePage]:
    """Read one page of all accounts' usage, or of one account's."""
    return await answer(request, pool, asked, account)


endpoint = route(
    "GET",
    "/v1/admin/usage",
    get_all_usage,
    description="As /v1/usage, over all accounts. `group_by=account&top=cost` lists the largest "
    "customers, `group_by=model&top=requests` the models.",
    perspective=Admin,
    services={API},
    media_types=(JSON, CSV),
    example=Example(query={"group_by": "account", "top": "requests"}, needs=["REQUEST_ID"]),
)

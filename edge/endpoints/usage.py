"""What an account has used."""

from typing import Any

from litestar import Request, Response
from litestar.di import NamedDependency

from edge.auth import Caller
from edge.endpoint import API, JSON, Application, route
from edge.examples import Example
from edge.reports import CSV, Asked, UsagePage, answer
from ledger.db import Pool


async def get_usage(
    request: Request[Any, Any, Any],
    caller: NamedDependency[Caller],
    pool: NamedDependency[Pool],
    asked: NamedDependency[Asked],
) -> Response[UsagePage]:
    """Read one page of the account's usage."""
    return await answer(request, pool, asked, caller.account.id)


endpoint = route(
    "GET",
    "/v1/usage",
    get_usage,
    description="What the account of the key has used, in UTC buckets, newest first: by model, "
    "task, key, status or meter. `Accept: text/csv` for a spreadsheet.",
    perspective=Application,
    services={API},
    media_types=(JSON, CSV),
    example=Example(query={"bucket": "hour", "group_by": "model,task"}, needs=["REQUEST_ID"]),
)

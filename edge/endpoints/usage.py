"""What an account has used."""

from datetime import UTC, datetime
from typing import Annotated

from litestar.di import NamedDependency
from litestar.params import FromQuery, QueryParameter

from edge.auth import Caller
from edge.endpoint import API, Application, route
from ledger.db import Pool, acquire
from ledger.usage import Bucket, UsagePage, read_usage

MAX_BUCKETS = 1_000


async def get_usage(
    *,
    caller: NamedDependency[Caller],
    pool: NamedDependency[Pool],
    bucket: FromQuery[Bucket] = "day",
    since: Annotated[datetime | None, QueryParameter(name="from", description="RFC 3339")] = None,
    until: Annotated[datetime | None, QueryParameter(name="to", description="RFC 3339")] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=MAX_BUCKETS)] = 100,
) -> UsagePage:
    """Read one page of the account's totals."""
    async with acquire(pool) as connection:
        return await read_usage(
            connection,
            caller.account.id,
            bucket=bucket,
            since=_in_utc(since),
            until=_in_utc(until),
            limit=limit,
        )


def _in_utc(time: datetime | None) -> datetime | None:
    """A time without an offset is UTC, like all that it is compared with."""
    return time.replace(tzinfo=UTC) if time and time.tzinfo is None else time


endpoint = route(
    "GET",
    "/v1/usage",
    get_usage,
    description="What the account of the key has used, in UTC buckets, newest first.",
    perspective=Application,
    services={API},
)

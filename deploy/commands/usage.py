"""`tollgate usage`."""

from collections.abc import Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated
from uuid import UUID

import typer

from deploy.commands.ledger import ask
from deploy.commands.output import AsJson, show
from deploy.errors import DeployError
from ledger import usage
from ledger.accounts import list_accounts
from ledger.db import Connection
from ledger.usage import UsageBucket

COLUMNS = (
    "bucket",
    "requests",
    "input_tokens",
    "output_tokens",
    "input_words",
    "output_words",
    "input_characters",
    "output_characters",
    "device_ms",
    "cost",
)


class Bucket(StrEnum):
    """What `ledger.usage.Bucket` allows, as the command line's parser wants it."""

    HOUR = "hour"
    DAY = "day"
    MONTH = "month"


class WhichAccount(DeployError):
    """There are several."""


def show_usage(
    *,
    account_id: Annotated[
        UUID | None, typer.Option("--account", help="Not needed where there is only one.")
    ] = None,
    bucket: Annotated[Bucket, typer.Option(help="How long a bucket is, in UTC.")] = Bucket.DAY,
    since: Annotated[datetime | None, typer.Option("--from")] = None,
    until: Annotated[datetime | None, typer.Option("--to")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 100,
    as_json: AsJson = False,
) -> None:
    """Show what an account has used, by time."""

    async def read(connection: Connection) -> Sequence[UsageBucket]:
        account = account_id or await _only_account(connection)
        page = await usage.read_usage(
            connection,
            account,
            bucket=bucket.value,
            since=since and since.replace(tzinfo=UTC),
            until=until and until.replace(tzinfo=UTC),
            limit=limit,
        )
        return page.data[::-1]  # the newest last, where a terminal's eye is

    show(ask(read), COLUMNS, as_json=as_json)


async def _only_account(connection: Connection) -> UUID:
    found = await list_accounts(connection)
    if len(found) != 1:
        raise WhichAccount(f"there are {len(found)} accounts; name one with --account")
    return found[0].id

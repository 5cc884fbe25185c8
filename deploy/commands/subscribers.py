"""`tollgate subscribers`."""

import re
from collections.abc import Sequence
from itertools import product
from typing import Annotated, Final
from uuid import UUID

import typer
from msgspec import Struct
from nats.aio.client import Client
from nats.js.api import ConsumerInfo
from nats.js.errors import NotFoundError

from deploy.commands.output import AsJson, show
from deploy.commands.servers import ask_broker
from deploy.errors import DeployError
from events import streams, usage
from events.streams import USAGE

app = typer.Typer(help="Let services read usage events, and see how far they are.")
COLUMNS = ("name", "filters", "waiting", "unacknowledged", "last_taken_at")

OURS: Final = frozenset({streams.usage_fold().durable_name})
NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")  # a token of subjects, and a folder


class _Row(Struct, frozen=True, kw_only=True):
    name: str
    filters: Sequence[str]
    waiting: int  # events that it has not been given yet
    unacknowledged: int  # that it was given
    last_taken_at: object


class NoSubscriber(DeployError):
    """A name that leads nowhere."""


def _subscriber(name: str) -> str:
    if not NAME.fullmatch(name) or name in OURS:
        raise typer.BadParameter(f"{name!r} cannot be a subscriber's name")
    return name


Name = Annotated[
    str, typer.Argument(callback=_subscriber, help="Of its account on the broker, too.")
]


@app.command("create")
def create(
    name: Name,
    *,
    account_id: Annotated[
        list[UUID] | None, typer.Option("--account", help="Only this account's usage; or more.")
    ] = None,
    model: Annotated[list[str] | None, typer.Option(help="Only this model's.")] = None,
    task: Annotated[list[str] | None, typer.Option(help="Only this task's.")] = None,
    as_json: AsJson = False,
) -> None:
    """Let a service read usage: all that the stream has, and what comes. Again: change it."""
    accounts: list[UUID | None] = list(account_id) if account_id else [None]
    filters = [
        usage.subjects(account=account, model=of, task=doing)
        for account, of, doing in product(accounts, model or [""], task or [""])
    ]
    config = streams.subscriber(name, filters)
    made = ask_broker(lambda client: client.jetstream().add_consumer(USAGE, config))
    show([_row(made)], COLUMNS, as_json=as_json)


@app.command("list")
def list_all(*, as_json: AsJson = False) -> None:
    """List subscribers, and how far behind each one is."""
    found = ask_broker(lambda client: client.jetstream().consumers_info(USAGE))
    rows = [_row(info) for info in found if info.name not in OURS]
    show(rows, COLUMNS, as_json=as_json)


@app.command("delete")
def delete(name: Name) -> None:
    """Forget a subscriber; it reads nothing more, and where it was is gone."""
    if not ask_broker(lambda client: _delete(client, name)):
        raise NoSubscriber(f"there is no subscriber {name!r}; see `tollgate subscribers list`")


async def _delete(client: Client, name: str) -> bool:
    try:
        return await client.jetstream().delete_consumer(USAGE, name)
    except NotFoundError:
        return False


def _row(info: ConsumerInfo) -> _Row:
    config = info.config
    only = [config.filter_subject] if config.filter_subject else config.filter_subjects
    return _Row(
        name=info.name,
        filters=only or [usage.SUBJECTS],
        waiting=info.num_pending or 0,
        unacknowledged=info.num_ack_pending or 0,
        last_taken_at=info.delivered and info.delivered.last_active,
    )

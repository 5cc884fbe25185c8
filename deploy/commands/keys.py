"""`tollgate keys`."""

from datetime import UTC, datetime, timedelta
from typing import Annotated
from uuid import UUID

import typer
from msgspec import Struct

from deploy.commands.output import AsJson, print_json, show
from deploy.commands.servers import ask_ledger
from deploy.commands.spans import span_of
from deploy.environment import environment_for_commands, read_settings
from deploy.errors import DeployError
from edge.settings import Secret
from events.accounts import ApiKey
from ledger import api_keys

app = typer.Typer(help="Make, list and revoke API keys.")
COLUMNS = (
    "id",
    "account_id",
    "name",
    "scope",
    "created_at",
    "expires_at",
    "revoked_at",
    "last_used_at",
)


class KeySettings(Struct, frozen=True, kw_only=True):
    """What minting a key needs: the secret that the edges hash with."""

    key_secret: Secret


class NothingThere(DeployError):
    """An id that leads nowhere."""


@app.command("create")
def create(
    account_id: UUID,
    *,
    name: Annotated[str, typer.Option(help="What the key is for.")] = "",
    scope: Annotated[
        list[str] | None, typer.Option(help="A model or task it is good for; again for more.")
    ] = None,
    days: Annotated[
        float | None, typer.Option(parser=span_of, metavar="DAYS", help="Until it expires.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make an API key for an account. It is shown this once."""
    expires_at = None if days is None else datetime.now(UTC) + timedelta(days=days)
    secret = read_settings(KeySettings, environment_for_commands()).key_secret

    key, plain = ask_ledger(
        lambda connection: api_keys.create_key(
            connection,
            account_id,
            name,
            secret.encode(),
            scope=scope or (),
            expires_at=expires_at,
        )
    )
    _show_new(key, plain, as_json=as_json)


@app.command("rotate")
def rotate(
    key_id: str,
    *,
    overlap_hours: Annotated[
        float,
        typer.Option(
            parser=span_of, metavar="HOURS", help="For how long the old key goes on working."
        ),
    ] = 24.0,
    as_json: AsJson = False,
) -> None:
    """Make a key like another one, and let that one expire. The new one is shown this once."""
    secret = read_settings(KeySettings, environment_for_commands()).key_secret
    overlap = timedelta(hours=overlap_hours)
    made = ask_ledger(
        lambda connection: api_keys.rotate_key(connection, key_id, secret.encode(), overlap=overlap)
    )
    if made is None:
        raise NothingThere(f"there is no key {key_id!r}; see `tollgate keys list`")
    key, plain = made
    _show_new(key, plain, as_json=as_json)


def _show_new(key: ApiKey, plain: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"api_key": plain, "key": key})
    else:
        print(plain)


@app.command("list")
def list_all(
    *,
    account_id: Annotated[UUID | None, typer.Option("--account", help="Only this one's.")] = None,
    as_json: AsJson = False,
) -> None:
    """List API keys, by their public ids."""
    keys = ask_ledger(lambda connection: api_keys.list_keys(connection, account_id))
    show(keys, COLUMNS, as_json=as_json)


@app.command("revoke")
def revoke(key_id: str, *, as_json: AsJson = False) -> None:
    """Revoke an API key; every edge refuses it at once."""
    key = ask_ledger(lambda connection: api_keys.revoke_key(connection, key_id))
    if key is None:
        raise NothingThere(f"there is no key {key_id!r}; see `tollgate keys list`")
    show([key], COLUMNS, as_json=as_json)

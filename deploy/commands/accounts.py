"""`tollgate accounts`."""

import typer

from deploy.commands.ledger import ask
from deploy.commands.output import AsJson, show
from ledger import accounts

app = typer.Typer(help="Make and list accounts.")
COLUMNS = ("id", "name", "created_at")


@app.command("create")
def create(name: str, *, as_json: AsJson = False) -> None:
    """Make an account."""
    account = ask(lambda connection: accounts.create_account(connection, name))
    show([account], COLUMNS, as_json=as_json)


@app.command("list")
def list_all(*, as_json: AsJson = False) -> None:
    """List every account."""
    show(ask(accounts.list_accounts), COLUMNS, as_json=as_json)

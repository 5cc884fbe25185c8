"""`tollgate credits`."""

from typing import Annotated
from uuid import UUID

import typer
from msgspec import Struct

from deploy.commands.money import amount_of
from deploy.commands.output import AsJson, print_json, show
from deploy.commands.servers import ask_ledger
from events.plans import show_money
from ledger import accounts
from ledger.accounts import Credit

app = typer.Typer(help="Grant credit, correct it, and list what was granted.")
COLUMNS = ("created_at", "amount", "reason", "id")


class _Row(Struct):
    """A credit with its amount in figures."""

    created_at: object
    amount: str
    reason: str
    id: object


@app.command("grant", context_settings={"ignore_unknown_options": True})
def grant(
    account_id: UUID,
    amount: Annotated[str, typer.Argument(help='Like "12.50"; negative takes back.')],
    *,
    reason: Annotated[str, typer.Option(help="Stays in the ledger.")],
    as_json: AsJson = False,
) -> None:
    """Add to an account's credit."""
    granted = ask_ledger(
        lambda connection: accounts.grant_credit(connection, account_id, amount_of(amount), reason)
    )
    _show([granted], as_json=as_json)


@app.command("list")
def list_all(account_id: UUID, *, as_json: AsJson = False) -> None:
    """List an account's credits and corrections, newest first."""
    found = ask_ledger(lambda connection: accounts.list_credits(connection, account_id))
    _show(list(found), as_json=as_json)


def _show(credits_: list[Credit], *, as_json: bool) -> None:
    if as_json:
        print_json(credits_)
        return
    rows = [
        _Row(credit.created_at, show_money(credit.amount), credit.reason, credit.id)
        for credit in credits_
    ]
    show(rows, COLUMNS, as_json=False)

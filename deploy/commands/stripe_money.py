"""`tollgate stripe link | waiting | explain | export | restore`."""

from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer

from deploy.commands import stripe_explain, stripe_export, stripe_restore
from deploy.commands.output import AsJson, show
from deploy.commands.plans import running_plans
from deploy.commands.servers import ask_ledger, ask_stripe
from ledger.db import Pool, acquire
from ledger.stripe.answers import take_customer
from ledger.stripe.api import StripeApi
from ledger.stripe.customers import claim_customer, list_jobs
from ledger.stripe.objects import asking_at


def link(
    account_id: UUID,
    customer: Annotated[str, typer.Argument(help="Stripe's id of it: cus_...")],
) -> None:
    """Say whose customer an account is, in place of what was said before."""

    async def run(pool: Pool, stripe: StripeApi) -> None:
        async with acquire(pool) as connection:
            asked_at = await asking_at(connection)
        answer = await claim_customer(stripe, account_id, customer)
        async with acquire(pool) as connection:
            await take_customer(
                connection,
                account_id,
                customer,
                [answer],
                asked_at=asked_at,
                plans=running_plans().plans,
                instead=True,
            )

    ask_stripe(run)
    print(f"account {account_id} is customer {customer}")


def waiting(*, as_json: AsJson = False) -> None:
    """List the accounts that are no customers of Stripe's yet, and why."""
    jobs = ask_ledger(list_jobs)
    show(jobs, ("account_id", "attempts", "due_at", "error"), as_json=as_json)


def explain(
    invoice: Annotated[str, typer.Argument(help="Its id (in_...), or its number.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Show an invoice's lines next to what was used; status 1 where they differ."""
    if not stripe_explain.explain(invoice, as_json=as_json):
        raise typer.Exit(1)


def export(file: Annotated[Path, typer.Argument(help="Not there yet.")]) -> None:
    """Write what another account of Stripe's can be begun with. It holds secrets."""
    stripe_export.export(file)


def restore(
    file: Path,
    *,
    go_on: Annotated[
        bool, typer.Option("--continue", help="With a restore of this file that was interrupted.")
    ] = False,
) -> None:
    """Begin anew with an export: in an empty ledger, and an empty account of Stripe's.

    Makes products, prices, customers and subscriptions again, and compares in the end; status 1
    where something differs. Means of payment and past invoices cannot be made again.
    """
    if not stripe_restore.restore(file, go_on=go_on):
        raise typer.Exit(1)

"""`tollgate stripe`."""

import typer

from deploy.commands import stripe_passes
from deploy.commands.stripe_meter import meter

app = typer.Typer(help="Stripe's side of the ledger.")
app.command("sync")(stripe_passes.sync)
app.command("sweep")(stripe_passes.sweep)
app.command("status")(stripe_passes.show_status)
app.command("meter")(meter)

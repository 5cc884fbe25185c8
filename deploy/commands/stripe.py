"""`tollgate stripe`."""

import typer

from deploy.commands import stripe_passes

app = typer.Typer(help="Stripe's side of the ledger.")
app.command("sync")(stripe_passes.sync)
app.command("sweep")(stripe_passes.sweep)
app.command("status")(stripe_passes.show_status)

"""`tollgate stripe`."""

import typer

from deploy.commands.stripe_meter import meter

app = typer.Typer(help="Ask Stripe, and tell it.")
app.command("meter")(meter)

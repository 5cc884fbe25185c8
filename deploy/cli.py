"""The `tollgate` command: reads settings, starts a process or asks the ledger."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Annotated

import asyncpg
import typer

from deploy.commands import (
    accounts,
    asyncapi,
    keys,
    models,
    plans,
    receipts,
    stripe,
    subscribers,
    tune,
    usage,
)
from deploy.commands import credits as credit_entries
from deploy.commands.output import AsJson
from deploy.errors import DeployError
from deploy.logging import configure_logging
from edge.errors import EdgeError
from events.errors import WireError
from ledger.errors import LedgerError

app = typer.Typer(
    help="A gate, a meter and a till in front of your machine-learning models.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(accounts.app, name="accounts")
app.add_typer(keys.app, name="keys")
app.add_typer(usage.app, name="usage")
app.add_typer(credit_entries.app, name="credits")
app.add_typer(subscribers.app, name="subscribers")
app.add_typer(receipts.app, name="receipts")
app.add_typer(stripe.app, name="stripe")
models.app.command("tune")(tune.tune_models)
app.command("plans")(plans.show_plans)
app.add_typer(models.app, name="models")
app.command("asyncapi")(asyncapi.show_asyncapi)


@app.command()
def up(
    port: Annotated[int, typer.Option(help="Where the API listens, on 127.0.0.1.")] = 8080,
    home: Annotated[Path, typer.Option(help="All state is kept below it.")] = Path(".tollgate"),
    ready_file: Annotated[
        Path | None, typer.Option(help="Written once healthy: JSON with url, api_key, ...")
    ] = None,
) -> None:
    """Start everything on this machine: NATS, PostgreSQL, edge, worker, consumers.

    Servers named by TOLLGATE_NATS_URL or TOLLGATE_DATABASE_URL are used instead of
    local ones. Stops on Ctrl-C.
    """
    from deploy.up import up as run_up  # noqa: PLC0415 - the other commands do without

    asyncio.run(run_up(port=port, home=home.resolve(), ready_file=ready_file))


@app.command()
def edge(
    host: Annotated[str, typer.Option(envvar="TOLLGATE_HOST")] = "127.0.0.1",
    port: Annotated[int, typer.Option(envvar="TOLLGATE_PORT")] = 8080,
    processes: Annotated[int, typer.Option(min=1, help="Processes that share the port.")] = 1,
) -> None:
    """Serve the HTTP API. Settings: see `edge/settings.py`, as TOLLGATE_<FIELD>."""
    from deploy.serve import serve_edge  # noqa: PLC0415 - likewise

    serve_edge(host=host, port=port, processes=processes)


@app.command()
def worker(
    only: Annotated[
        str | None, typer.Option("--models", help="Serve these only, comma-separated.")
    ] = None,
) -> None:
    """Serve models. Settings: see `inference/settings.py`, as TOLLGATE_<FIELD>."""
    from deploy.serve import run_worker  # noqa: PLC0415 - likewise

    run_worker(only)


@app.command()
def consume() -> None:
    """Fold usage and reconcile Stripe. Settings: see `consumers/settings.py`."""
    from deploy.serve import run_consumers  # noqa: PLC0415 - likewise

    run_consumers()


@app.command()
def migrate(
    *,
    status: Annotated[
        bool, typer.Option("--status", help="Change nothing; check what the ledger runs on.")
    ] = False,
    as_json: AsJson = False,
) -> int:
    """Bring the database's schema and the broker's streams up to date."""
    from deploy.commands.migrate import run_migrations, show_status  # noqa: PLC0415 - likewise

    if status:
        return show_status(as_json=as_json)
    asyncio.run(run_migrations())
    return 0


def main() -> None:
    """Run the command; what was foreseen ends in one line and exit status 1, or 2 for misuse."""
    configure_logging("tollgate")
    try:
        status = app(sys.argv[1:] or ["--help"], standalone_mode=False)
    except (typer.Abort, KeyboardInterrupt):
        sys.exit(130)
    except typer.TyperException as misuse:
        fail(f"{str(misuse).rstrip('.')}; see `tollgate --help`", status=2)
    except asyncpg.UndefinedTableError as error:
        fail(f"{error}; run `tollgate migrate` first")
    except (DeployError, EdgeError, LedgerError, WireError, asyncpg.PostgresError) as error:
        fail(str(error))
    else:
        sys.exit(status or 0)


def fail(message: str, *, status: int = 1) -> None:
    """Say what went wrong, in one line, and exit."""
    print(f"tollgate: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(status)


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    main()

"""`tollgate models`."""

from pathlib import Path

import typer
from msgspec import Struct
from nats.aio.client import Client

from deploy.commands.output import AsJson, show
from deploy.commands.servers import ask_broker
from deploy.environment import environment_for_commands, read_settings
from edge.catalogue import Catalogue
from events.direct import Direct
from events.models import read_models

app = typer.Typer(help="The declared models.", invoke_without_command=True)


class ModelsSettings(Struct, frozen=True, kw_only=True):
    """Where models are declared."""

    models_file: str = ""


class _Row(Struct, frozen=True, kw_only=True):
    name: str
    tasks: str
    running: bool
    workers: int
    source: str
    device: str


@app.callback()
def list_models(context: typer.Context, *, as_json: AsJson = False) -> None:
    """List the declared models, and whether workers serve them now."""
    if context.invoked_subcommand is not None:
        return
    settings = read_settings(ModelsSettings, environment_for_commands())
    rows = ask_broker(lambda client: _rows(client, settings))
    show(rows, ("name", "tasks", "running", "workers", "source", "device"), as_json=as_json)


async def _rows(client: Client, settings: ModelsSettings) -> list[_Row]:
    declared = read_models(Path(settings.models_file)) if settings.models_file else {}
    direct = Direct(client)
    await direct.start()
    catalogue = Catalogue(client, direct, declared)
    await catalogue.catch_up()
    return [
        _Row(
            name=state.model.name,
            tasks=", ".join(state.model.tasks),
            running=state.workers > 0,
            workers=state.workers,
            source=state.model.source,
            device=state.model.device,
        )
        for state in catalogue.states()
    ]

"""Starting the three processes, each with its own settings."""

import asyncio
import os
import resource
import shutil
import signal
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from deploy.environment import read_settings
from deploy.logging import configure_logging
from edge.cors import Cors
from edge.gate import read_gates
from edge.server.configuration import configure
from edge.server.connections import Connections
from edge.settings import Settings as EdgeSettings
from events.models import read_models
from events.plans import read_plans
from events.receipts import read_signing_keys


def serve_edge(*, host: str, port: int, processes: int) -> None:
    """Serve the API until SIGTERM, from one process or from several on one port."""
    settings = read_settings(EdgeSettings, os.environ)  # here, so that an error is one line
    read_signing_keys(settings.receipt_keys)
    Connections(settings)
    Cors(settings.cors_origins)
    _read_files(settings)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # each connection is a file
    shared = tempfile.mkdtemp(prefix="tollgate-metrics-") if processes > 1 else None
    if shared:  # the library's own switch: /metrics then adds the processes up
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = shared
    try:
        configuration = configure(
            "deploy.serve:edge_application", settings, host=host, port=port, processes=processes
        )
        if processes > 1:
            Multiprocess(configuration, sockets=[configuration.bind_socket()]).run()
        else:
            server = uvicorn.Server(configuration)
            server.run()
            if not server.started:
                sys.exit(STARTUP_FAILURE)
    finally:
        if shared:
            shutil.rmtree(shared, ignore_errors=True)


def _read_files(settings: EdgeSettings) -> None:
    """See that each file can be used, for the same reason."""
    for file, read in (
        (settings.models_file, read_models),
        (settings.plans_file, read_plans),
        (settings.gates_file, read_gates),
    ):
        if file:
            read(Path(file))


def edge_application() -> Any:  # noqa: ANN401 - an ASGI application, for uvicorn's factory
    """One edge process's application, from its environment."""
    from edge.app import create_app  # noqa: PLC0415 - after the metrics' switch is set

    configure_logging("edge")
    return create_app(read_settings(EdgeSettings, os.environ))


def run_worker(only: str | None) -> None:
    """Serve models until SIGTERM."""
    from inference.app import create_app  # noqa: PLC0415 - brings torch along
    from inference.settings import Settings  # noqa: PLC0415 - likewise

    configure_logging("worker")
    worker = create_app(read_settings(Settings, os.environ, models=only))
    _run(worker.run)


def run_consumers() -> None:
    """Fold and reconcile until SIGTERM."""
    from consumers.app import create_app  # noqa: PLC0415 - the others do without
    from consumers.settings import Settings  # noqa: PLC0415 - likewise

    configure_logging("consumers")
    consumers = create_app(read_settings(Settings, os.environ))
    _run(consumers.run)


def _run(process: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    """Run a process on uvloop until SIGTERM or Ctrl-C; a second one is not waited for."""

    async def until_stopped() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        await process(stop)

    import uvloop  # noqa: PLC0415 - only the processes need it

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(until_stopped())

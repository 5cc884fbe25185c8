"""`tollgate up`: everything on this machine, from nothing to ready, and down again."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from http.client import HTTPConnection, HTTPException
from importlib.resources import files
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit
from uuid import UUID

import msgspec
from msgspec import Struct

from deploy.environment import ENVIRONMENT_FILE, PREFIX
from deploy.errors import PortTaken
from deploy.local import postgres
from deploy.local.home import Demo, Secrets, claimed, read_secrets, write_privately, write_secrets
from deploy.local.nats import Nats
from deploy.local.ports import free_port, is_free
from deploy.local.postgres import Postgres
from deploy.local.progress import Progress
from deploy.local.server import Server
from deploy.local.supervisor import Program, Supervisor
from events import broker, streams
from ledger import accounts, api_keys, key_format
from ledger.db import acquire, create_pool

PROCESSES: Final = ("consume", "worker", "edge")  # stopped the other way round
DATABASE: Final = "tollgate"
ASK_S: Final = 2.0
BROKER_S: Final = 10.0
EDGE_S: Final = 180.0
MODELS_S: Final = 300.0  # a cold disk and two slow cores

_BANNER: Final = """
Tollgate is ready.

  API             {url}
  documentation   {url}/docs
  demo key        {api_key}
  usage events    {nats_url} (docs/events.md)

Try it:

  curl {url}/v1/en_core_web_sm/entities \\
    -H 'Authorization: Bearer {api_key}' \\
    -H 'Content-Type: application/json' \\
    -d '{{"text": "Ada Lovelace met Charles Babbage in London."}}'

Ctrl-C stops everything; what was stored stays in {home}
"""


class Ready(Struct, frozen=True, kw_only=True):
    """What the ready file says: how to reach a system that is healthy."""

    url: str
    api_key: str
    account_id: str
    admin_token: str
    nats_url: str
    database_url: str


class _Model(Struct, frozen=True):
    id: str
    running: bool


class _Models(Struct, frozen=True):
    data: list[_Model]


async def up(*, port: int, home: Path, ready_file: Path | None = None) -> None:
    """Run the whole system until SIGINT or SIGTERM.

    Args:
        port: Where the API listens.
        home: Everything that is kept is kept below it.
        ready_file: Written once healthy, removed at the end.

    Raises:
        DeployError: it does not come up, and why; whatever ran is stopped again.
    """
    progress = Progress()
    with (
        claimed(home) as place,
        _gone_afterwards(ready_file),
        _gone_afterwards(place / ENVIRONMENT_FILE),
    ):
        async with _until_told(), Supervisor(place / "run", write=progress.say) as children:
            ready = await _bring_up(children, port, place, progress)
            progress.say(_banner(ready, place))
            if ready_file is not None:
                write_privately(ready_file, msgspec.to_builtins(ready))
            await asyncio.Event().wait()
        progress.say("stopped")


def _banner(ready: Ready, home: Path) -> str:
    nats_url = re.sub(r"//[^/@]*@", "//", ready.nats_url)  # less a password of the user's
    return _BANNER.format(url=ready.url, api_key=ready.api_key, nats_url=nats_url, home=home)


@contextmanager
def _gone_afterwards(path: Path | None) -> Iterator[None]:
    """Have no such file before the block, nor after it."""
    if path is not None:
        path.unlink(missing_ok=True)  # of a run that was killed
    try:
        yield
    finally:
        if path is not None:
            path.unlink(missing_ok=True)


@asynccontextmanager
async def _until_told() -> AsyncIterator[None]:
    """End the block at SIGINT or SIGTERM, wherever it is; later ones change nothing."""
    task = asyncio.current_task()
    assert task is not None
    told = asyncio.Event()

    def tell() -> None:
        if not told.is_set():
            told.set()
            task.cancel()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, tell)
    try:
        yield
    except asyncio.CancelledError:
        if not told.is_set():
            raise
        task.uncancel()
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


async def _bring_up(children: Supervisor, port: int, home: Path, progress: Progress) -> Ready:
    """Start everything in order, each once the one before it is ready."""
    if not is_free(port):
        raise PortTaken(port)
    kept = read_secrets(home)
    database_url = os.environ.get("TOLLGATE_DATABASE_URL")
    if not database_url:
        database_url = await _start_postgres(children, home, progress)
    nats_url, nats = os.environ.get("TOLLGATE_NATS_URL"), None
    if not nats_url:
        nats = Nats(home / "nats", free_port())
        nats_url = nats.url
        with progress.step("starting NATS"):
            await _start_server(children, nats)
    environment = _environment(kept, port, nats_url, database_url)
    # for `tollgate usage` and its like, typed into another terminal
    write_privately(
        home / ENVIRONMENT_FILE,
        {name: value for name, value in environment.items() if name.startswith(PREFIX)},
    )
    with progress.step("migrating the database and the streams"):
        await children.run(_tollgate("migrate", environment))
        if nats is not None:
            await _forget_workers(nats.url)
    kept = await _with_demo(kept, home, environment)
    assert kept.demo is not None
    for name in PROCESSES:
        children.start(_tollgate(name, environment))
    url = f"http://127.0.0.1:{port}"
    with progress.step("starting the edge"):
        await children.until(lambda: _is_ready(url), "the edge", within_s=EDGE_S)
    with progress.step("loading the models"):
        await children.until(lambda: _all_run(url), "the models", within_s=MODELS_S)
    return Ready(
        url=url,
        api_key=kept.demo.api_key,
        account_id=kept.demo.account_id,
        admin_token=environment["TOLLGATE_ADMIN_TOKEN"],
        nats_url=nats_url,
        database_url=database_url,
    )


async def _start_postgres(children: Supervisor, home: Path, progress: Progress) -> str:
    if not postgres.is_installed():
        argv = [sys.executable, "-P", "-m", "deploy.local.postgres", "install"]
        with progress.step("installing PostgreSQL with TimescaleDB, once"):
            await children.run(Program(name="install", argv=argv))
    server = Postgres(home / "postgres", free_port())
    with progress.step("starting PostgreSQL"):
        await _start_server(children, server)
        return await asyncio.to_thread(server.create, DATABASE)


async def _start_server(children: Supervisor, server: Server) -> None:
    children.start(Program.of(server))
    await children.until(lambda: asyncio.to_thread(server.answers), server.name)


async def _forget_workers(nats_url: str) -> None:
    """Take back what workers announced that were killed with our own broker.

    It would hold for some seconds more, and we would call models running that are not.
    """
    async with asyncio.timeout(BROKER_S):
        client = await broker.connect(nats_url, "tollgate-up")
        try:
            await client.jetstream().purge_stream(streams.MODELS)
        finally:
            await client.close()


def _environment(kept: Secrets, port: int, nats_url: str, database_url: str) -> Mapping[str, str]:
    """What the processes read; a value that the user has set wins over one of ours."""
    return {
        "TOLLGATE_HOST": "127.0.0.1",
        "TOLLGATE_KEY_SECRET": kept.key_secret,
        "TOLLGATE_ADMIN_TOKEN": kept.admin_token,
        "TOLLGATE_STRIPE_WEBHOOK_SECRETS": kept.stripe_webhook_secret,
        "TOLLGATE_RECEIPT_KEYS": kept.receipt_key,
        "TOLLGATE_MODELS_FILE": str(files("deploy") / "models.toml"),
        "TOLLGATE_PLANS_FILE": str(files("deploy") / "plans.toml"),
        "TOLLGATE_GATES_FILE": str(files("deploy") / "gates.toml"),
        "HF_HUB_OFFLINE": "1",  # models come with packages or from a folder
        "PYTHONUNBUFFERED": "1",
        **os.environ,
        "TOLLGATE_PORT": str(port),
        # what is asked here comes from this machine, and by http
        "TOLLGATE_TLS_CERTIFICATE": "",
        "TOLLGATE_TLS_KEY": "",
        "TOLLGATE_NATS_URL": nats_url,
        "TOLLGATE_DATABASE_URL": database_url,
    }


def _tollgate(command: str, environment: Mapping[str, str]) -> Program:
    # -P: a folder called `edge` where the user happens to be is not our package
    argv: Sequence[str] = [sys.executable, "-P", "-m", "deploy.cli", command]
    return Program(name=command, argv=argv, env=environment)


async def _with_demo(kept: Secrets, home: Path, environment: Mapping[str, str]) -> Secrets:
    """Make sure that the demo key opens this ledger, which may be a new one."""
    secret = environment["TOLLGATE_KEY_SECRET"].encode()
    async with (
        await create_pool(environment["TOLLGATE_DATABASE_URL"]) as pool,
        acquire(pool) as connection,
    ):
        demo = kept.demo
        if demo is not None:
            key = await api_keys.find_key(connection, key_format.digest(demo.api_key, secret))
            if key is not None and key.revoked_at is None:
                return kept
            account = await accounts.find_account(connection, UUID(demo.account_id))
        else:
            account = None
        async with connection.transaction():
            account = account or await accounts.create_account(connection, "demo")
            _, plain = await api_keys.create_key(connection, account.id, "demo", secret)
            kept = msgspec.structs.replace(
                kept, demo=Demo(account_id=str(account.id), api_key=plain)
            )
            write_secrets(home, kept)  # first: a key that nobody knows is of no use
    return kept


async def _is_ready(url: str) -> bool:
    return await asyncio.to_thread(_get, url, "/readyz") is not None


async def _all_run(url: str) -> bool:
    answer = await asyncio.to_thread(_get, url, "/v1/models")
    models = msgspec.json.decode(answer, type=_Models).data if answer else []
    return bool(models) and all(model.running for model in models)


def _get(url: str, path: str) -> bytes | None:
    """The body of a 200, or None."""
    connection = HTTPConnection(urlsplit(url).netloc, timeout=ASK_S)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        body = answer.read()
    except (OSError, HTTPException):
        return None
    finally:
        connection.close()
    return body if answer.status == 200 else None  # noqa: PLR2004 - says it better

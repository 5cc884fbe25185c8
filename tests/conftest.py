"""Real servers: PostgreSQL once per run, NATS and a database for each test."""

import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from uuid import uuid4

import asyncpg
import hypothesis
import psycopg
import pytest
from nats.aio.client import Client

from deploy.local import ports
from deploy.local import postgres as programs
from deploy.local.nats import Nats
from deploy.local.ports import free_port
from deploy.local.postgres import Postgres
from events import broker
from ledger.db import Connection
from ledger.migrate import migrate
from tests.broker import PatientClient
from tests.still import StillLoop

# two shared cores: how long one example takes says nothing
hypothesis.settings.register_profile("tollgate", deadline=None)
hypothesis.settings.load_profile("tollgate")

TEMPLATE = "template_tollgate"


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], StillLoop]]:
    """Have no timeout pass while this process stands still."""
    return {"still": StillLoop}


@pytest.fixture(scope="session", autouse=True)
def _own_ports(worker_id: str) -> Iterator[None]:
    """Ports that no run beside this one takes between our choice and our server's start."""
    with pytest.MonkeyPatch.context() as patched:
        if worker_id != "master":  # one of several
            number, workers = int(worker_id[2:]), int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
            patched.setattr(ports, "PORTS", ports.PORTS[number::workers])
        yield


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A server with TimescaleDB, and in it a migrated template."""
    programs.install(print)
    with Postgres(tmp_path_factory.mktemp("postgres"), free_port()) as server:
        with psycopg.connect(server.url("postgres"), autocommit=True) as session:
            # no test cuts the power, and dropping a database syncs everything
            session.execute("ALTER SYSTEM SET fsync = off")
            session.execute("SELECT pg_reload_conf()")
        migrate(server.create(TEMPLATE))
        yield server


@pytest.fixture(scope="session")
def postgres_url(postgres: Postgres) -> str:
    """The server's own database, from which others are made."""
    return postgres.url("postgres")


@pytest.fixture
def database_url(postgres: Postgres, postgres_url: str) -> Iterator[str]:
    """A migrated database of the test's own."""
    name = f"test_{uuid4().hex}"
    with psycopg.connect(postgres_url, autocommit=True) as session:
        session.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
        yield postgres.url(name)
        session.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def ledger(database_url: str) -> AsyncIterator[Connection]:
    """A connection to it."""
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


@pytest.fixture
def nats_server(tmp_path: Path) -> Iterator[Nats]:
    """A broker of the test's own, that syncs before it acknowledges."""
    with Nats(tmp_path / "nats", free_port()) as server:
        yield server


@pytest.fixture
def nats_url(nats_server: Nats) -> str:
    return nats_server.url


@pytest.fixture
async def nats(nats_url: str) -> AsyncIterator[Client]:
    """A connection to it; the streams are the test's to make."""
    connection = await broker.connect(nats_url, "test", client=PatientClient())
    yield connection
    await connection.close()

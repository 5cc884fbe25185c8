import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import nats
import psycopg
import pytest

from deploy.errors import StillInUse
from deploy.local import postgres
from deploy.local.nats import Nats
from deploy.local.ports import free_port
from deploy.local.postgres import Postgres
from deploy.local.server import Server
from deploy.local.supervisor import Program, Supervisor
from tests.deploy.test_supervisor import is_alive
from tests.waiting import PATIENCE_S, until


@pytest.fixture(scope="module", autouse=True)
def _programs() -> None:
    postgres.install(print)


@pytest.fixture
async def children(tmp_path: Path) -> AsyncIterator[Supervisor]:
    async with (
        asyncio.timeout(2 * PATIENCE_S),
        Supervisor(tmp_path / "run", write=print) as children,
    ):
        yield children


async def start(children: Supervisor, server: Server) -> None:
    children.start(Program.of(server))
    await children.until(lambda: asyncio.to_thread(server.answers), server.name)


def pid_in(path: Path) -> int:
    return int(path.read_text())


async def test_nats_keeps_streams_over_a_restart(tmp_path: Path) -> None:
    with Nats(tmp_path, free_port()) as server:
        client = await nats.connect(server.url)
        await client.jetstream().add_stream(name="S", subjects=["s"])
        await client.jetstream().publish("s", b"kept")
        await client.close()

    with Nats(tmp_path, free_port()) as server:
        client = await nats.connect(server.url)
        message = await client.jetstream().get_msg("S", seq=1)
        await client.close()

    assert message.data == b"kept"


@pytest.mark.parametrize("sync", ["always", "2m"])
async def test_nats_syncs_as_it_is_told(tmp_path: Path, sync: str) -> None:
    server = Nats(tmp_path, free_port(), sync=sync)
    with server:
        assert f"sync_interval: {sync}\n" in (tmp_path / "nats.conf").read_text()


async def test_a_killed_nats_returns_on_its_port_with_what_it_acknowledged(
    children: Supervisor, tmp_path: Path
) -> None:
    server = Nats(tmp_path / "nats", free_port())
    await start(children, server)
    pid_file = tmp_path / "run" / "nats.pid"
    first = pid_in(pid_file)
    client = await nats.connect(server.url, max_reconnect_attempts=-1, reconnect_time_wait=0.05)
    jetstream = client.jetstream()
    await jetstream.add_stream(name="S", subjects=["s"])
    acknowledged = await jetstream.publish("s", b"before")

    os.kill(first, signal.SIGKILL)
    await until(lambda: pid_file.exists() and pid_in(pid_file) != first)
    await until(server.answers)
    await until(lambda: client.is_connected)

    assert (await jetstream.get_msg("S", seq=acknowledged.seq)).data == b"before"
    assert (await jetstream.publish("s", b"after")).seq == acknowledged.seq + 1
    await client.close()


def test_postgres_answers_with_timescaledb_and_stops_without_a_trace(tmp_path: Path) -> None:
    with Postgres(tmp_path, free_port()) as server:
        url = server.create("tollgate")
        assert server.create("tollgate") == url  # once is enough
        with psycopg.connect(url) as session:
            session.execute("CREATE EXTENSION timescaledb")
            session.execute("CREATE TABLE event (at timestamptz NOT NULL)")
            session.execute("SELECT create_hypertable('event', 'at')")
            fsync = session.execute("SHOW fsync").fetchone()
        pid = server.pid

    assert fsync == ("on",)
    assert not is_alive(pid)
    assert not (server.data / "postmaster.pid").exists()


def test_postgres_does_not_run_as_root(tmp_path: Path) -> None:
    with Postgres(tmp_path, free_port()) as server:
        assert Path(f"/proc/{server.pid}").stat().st_uid != 0


def test_postgres_starts_again_after_a_kill(tmp_path: Path) -> None:
    server = Postgres(tmp_path, free_port())
    with server:
        with psycopg.connect(server.create("tollgate")) as session:
            session.execute("CREATE TABLE kept AS SELECT 7 AS number")
        server.kill()
        assert (server.data / "postmaster.pid").exists()

        server.start()

        with psycopg.connect(server.url("tollgate")) as session:
            assert session.execute("SELECT number FROM kept").fetchone() == (7,)


async def test_a_killed_postgres_returns_on_its_port(children: Supervisor, tmp_path: Path) -> None:
    server = Postgres(tmp_path / "postgres", free_port())
    await start(children, server)
    url = await asyncio.to_thread(server.create, "tollgate")
    lingering = await asyncpg.connect(url)  # its backend outlives the server for a moment
    pid_file = tmp_path / "run" / "postgres.pid"
    first = pid_in(pid_file)

    os.kill(first, signal.SIGKILL)
    await until(lambda: pid_file.exists() and pid_in(pid_file) != first)
    await until(server.answers)

    session = await asyncpg.connect(url)
    assert await session.fetchval("SELECT 1") == 1
    await session.close()
    lingering.terminate()


def test_two_servers_do_not_share_their_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.local.server.RELEASE_S", 0.1)
    with Nats(tmp_path, free_port()), pytest.raises(StillInUse):
        Nats(tmp_path, free_port()).start()

"""The profile of docs/production.md: every connection is encrypted, and every name proven."""

import asyncio
import os
import pwd
import shutil
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Final

import asyncpg
import httpx
import psycopg
import pytest

from deploy.local.nats import Nats
from deploy.local.ports import free_port
from deploy.local.postgres import Postgres
from events import broker
from events.errors import BadBrokerUrl
from ledger.accounts import create_account
from ledger.api_keys import create_key
from ledger.db import create_pool
from tests.deploy import guarded
from tests.system.system import ECHO_ONLY
from tests.tls import Authority, Files
from tests.waiting import PATIENCE_S, until

SECRET: Final = "a-key-secret-for-tests"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ca", "ca")


@pytest.fixture
def stranger(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "stranger", "ca")


@pytest.fixture
def encrypted_nats(
    tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Nats]:
    files = authority.issue("nats")

    def with_tls(permissions: str) -> str:
        listed = f'cert_file: "{files.certificate}", key_file: "{files.key}"'
        return f"{permissions}\ntls {{ {listed} }}\n"

    with guarded.broker(tmp_path / "guarded", monkeypatch, with_tls) as started:
        yield started


def url_of(server: Nats, user: str, ca: Path | None) -> str:
    url = guarded.url(server, user).replace("nats://", "tls://")
    return f"{url}?ca={ca}" if ca else url


@pytest.fixture
def encrypted_database(
    postgres: Postgres, postgres_url: str, database_url: str, authority: Authority
) -> Iterator[str]:
    files = authority.issue("postgres")
    _give_to_the_server(postgres, files)
    settings = {"ssl_cert_file": files.certificate, "ssl_key_file": files.key}
    with psycopg.connect(postgres_url, autocommit=True) as session:
        for name, value in settings.items():
            session.execute(f"ALTER SYSTEM SET {name} = '{_data(postgres) / value.name}'")
        session.execute("ALTER SYSTEM SET ssl = on")
        session.execute("SELECT pg_reload_conf()")
        yield database_url
        for name in ("ssl", *settings):
            session.execute(f"ALTER SYSTEM RESET {name}")
        session.execute("SELECT pg_reload_conf()")


def _data(postgres: Postgres) -> Path:
    return postgres.data


def _give_to_the_server(postgres: Postgres, files: Files) -> None:
    """Where its user can read them, and nobody else the key."""
    for file in (files.certificate, files.key):
        copy = _data(postgres) / file.name
        shutil.copy(file, copy)
        copy.chmod(0o600)
        if os.geteuid() == 0:
            os.chown(copy, pwd.getpwnam("nobody").pw_uid, -1)


def proving(url: str, ca: Path) -> str:
    return f"{url.replace('127.0.0.1', 'localhost')}?sslmode=verify-full&sslrootcert={ca}"


@asynccontextmanager
async def tollgate(command: str, environment: dict[str, str], log: Path) -> AsyncIterator[None]:
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "deploy.cli",
            command,
            stdout=output,
            stderr=output,
            env={**os.environ, **environment},
        )
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        await asyncio.wait_for(process.wait(), PATIENCE_S)


async def test_the_whole_profile_answers(
    tmp_path: Path, authority: Authority, encrypted_nats: Nats, encrypted_database: str
) -> None:
    models = tmp_path / "models.toml"
    models.write_text(ECHO_ONLY)
    files = authority.issue("edge")
    port = free_port()
    database_url = proving(encrypted_database, authority.file)

    def environment(user: str) -> dict[str, str]:
        return {
            "TOLLGATE_NATS_URL": url_of(encrypted_nats, user, authority.file),
            "TOLLGATE_DATABASE_URL": database_url,
            "TOLLGATE_KEY_SECRET": SECRET,
            "TOLLGATE_ADMIN_TOKEN": "an-admin-token-for-tests",
            "TOLLGATE_MODELS_FILE": str(models),
            "TOLLGATE_SERVICES": "api,webhooks",
            "TOLLGATE_TLS_CERTIFICATE": str(files.certificate),
            "TOLLGATE_TLS_KEY": str(files.key),
            "TOLLGATE_PORT": str(port),
            "TOLLGATE_USAGE_STREAM_MIB": "64",
            "TOLLGATE_STRIPE_STREAM_MIB": "64",
        }

    async with AsyncExitStack() as stack:
        status, said = await _migrate(environment("operator"))
        assert status == 0, said
        pool = await stack.enter_async_context(create_pool(database_url))
        async with pool.acquire() as connection:
            account = await create_account(connection, "tests")
            _, key = await create_key(connection, account.id, "", SECRET.encode())
            encrypts = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
            assert await connection.fetchval(encrypts) is True
        for command, user in (("edge", "edge"), ("worker", "worker"), ("consume", "consumers")):
            log = tmp_path / f"{command}.log"
            await stack.enter_async_context(tollgate(command, environment(user), log))
        client = await stack.enter_async_context(
            httpx.AsyncClient(
                base_url=f"https://localhost:{port}",
                headers={"Authorization": f"Bearer {key}"},
                verify=authority.trusted(),
                timeout=PATIENCE_S,
            )
        )

        async def answers() -> bool:
            with suppress(httpx.TransportError):
                answer = await client.post("/v1/echo/echo", json={"text": "hi"})
                return answer.status_code == 200
            return False

        await until(answers)
        outside = [(await client.get(path)).status_code for path in ("/metrics", "/readyz")]
        several = await asyncio.gather(
            *[client.post("/v1/echo/echo", json={"text": "a" * 50_000}) for _ in range(20)]
        )

        async def folded() -> bool:
            async with pool.acquire() as connection:
                events = await connection.fetchval("SELECT count(*) FROM usage_events")
            return int(events) >= 1 + len(several)

        await until(folded)

    assert {answer.status_code for answer in several} == {200}
    assert outside == [404, 404]  # the doors that face the internet are others
    assert not guarded.violations(encrypted_nats)


async def _migrate(environment: dict[str, str]) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "deploy.cli",
        "migrate",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "TOLLGATE_CONNECT_TIMEOUT_S": "5", **environment},
    )
    said, _ = await asyncio.wait_for(process.communicate(), PATIENCE_S)
    return process.returncode or 0, said.decode()


async def test_a_database_that_another_authority_vouches_for_is_refused(
    encrypted_database: str, authority: Authority, stranger: Authority
) -> None:
    assert await _asks(proving(encrypted_database, authority.file)) == 1
    with pytest.raises(OSError, match="certificate verify failed"):
        await _asks(proving(encrypted_database, stranger.file))
    with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
        psycopg.connect(proving(encrypted_database, stranger.file)).close()


async def _asks(url: str) -> int:
    connection = await asyncpg.connect(url)
    try:
        return int(await connection.fetchval("SELECT 1"))
    finally:
        await connection.close()


async def test_a_broker_that_another_authority_vouches_for_is_refused(
    encrypted_nats: Nats, authority: Authority, stranger: Authority
) -> None:
    assert await _connects(url_of(encrypted_nats, "edge", authority.file))
    for ca in (stranger.file, None):  # no authority of the system's has heard of it either
        assert not await _connects(url_of(encrypted_nats, "edge", ca), within_s=2)


async def _connects(url: str, within_s: float = PATIENCE_S) -> bool:
    """Whether a broker is found; one that is not is looked for for ever."""
    client = broker.EncryptingClient()
    try:
        async with asyncio.timeout(within_s):
            await broker.connect(url, "test", client=client)
    except TimeoutError:
        return False
    else:
        return True
    finally:
        await client.close()


async def test_a_password_is_not_told_to_a_broker_that_does_not_encrypt(
    authority: Authority,
) -> None:
    heard = b""

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal heard
        writer.write(b'INFO {"server_id":"x","version":"2.15.1","max_payload":1000}\r\n')
        heard += await reader.read(1_000)
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    plain = f"nats://edge:password@127.0.0.1:{port}"
    async with server:
        encrypting = f"{plain.replace('nats', 'tls')}?ca={authority.file}"
        assert not await _connects(encrypting, within_s=1)
        assert b"password" not in heard

        async def told() -> bool:
            await _connects(plain, within_s=1)
            return b"password" in heard

        await until(told)  # control: by nats:// it is


@pytest.mark.parametrize(
    "url",
    [
        "tls://broker:4222?ca=/nowhere.pem",
        "tls://broker:4222?verify=no",
        "tls://one:4222?ca=/a,tls://other:4222?ca=/b",
        "nats://broker:4222?ca=/nowhere.pem",
    ],
)
async def test_a_url_that_asks_for_something_else_is_named_without_its_password(url: str) -> None:
    with pytest.raises(BadBrokerUrl, match="TOLLGATE_NATS_URL") as caught:
        await broker.connect(url.replace("//", "//edge:password@"), "test")

    assert "password" not in str(caught.value)

"""An edge that callers reach by TLS."""

import asyncio
import shutil
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from msgspec.structs import replace
from nats.aio.client import Client
from nats.aio.msg import Msg

from edge.server.certificate import Certificate, read_certificate
from edge.settings import BadSetting, Settings
from events.inference import Ask
from ledger.db import Connection
from tests.edge.raw import (
    LONG,
    UNREAD,
    Heard,
    Streams,
    at_length,
    connected,
    deaf,
    look_often,
    one_answer,
    trickle,
    until_closed,
)
from tests.edge.running import Edge, answered, reply, running
from tests.tls import Authority, Files
from tests.waiting import PATIENCE_S, until

PATH = "/v1/good/echo"
GET = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def echo(message: Msg, ask: Ask) -> None:
    await reply(message, answered(ask.input))


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ca", "ca")


@pytest.fixture
async def edge(  # noqa: PLR0917 - fixtures, by name
    nats: Client,
    nats_url: str,
    database_url: str,
    ledger: Connection,
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Edge]:
    look_often(monkeypatch)
    files = authority.issue("edge")
    async with running(
        nats,
        nats_url,
        database_url,
        ledger,
        tls_certificate=str(files.certificate),
        tls_key=str(files.key),
        head_s=1.0,
    ) as started:
        await started.serve(echo, model="good")
        yield started


async def test_an_edge_with_a_certificate_is_reached_by_tls(
    edge: Edge, authority: Authority
) -> None:
    async with edge.client() as client:
        answer = await client.post(PATH, json={"text": "a"})
        large = await client.post(PATH, json={"text": "a" * 99_000})
        page = await client.get("/docs")
    async with connected(edge.port, authority.trusted()) as (reader, writer):
        writer.write(GET)  # right behind the handshake
        first = await one_answer(reader)
        tls: ssl.SSLObject = writer.get_extra_info("ssl_object")

    assert (answer.status_code, large.status_code, first.status) == (200, 200, 200)
    for response in (answer, page):
        assert response.headers["strict-transport-security"] == "max-age=31536000"
    assert tls.version() in {"TLSv1.2", "TLSv1.3"}


async def test_who_trusts_another_authority_or_speaks_old_tls_is_not_answered(
    edge: Edge, authority: Authority, tmp_path: Path
) -> None:
    stranger = Authority(tmp_path / "other", "other").trusted()
    old = authority.trusted()
    old.minimum_version = ssl.TLSVersion.TLSv1_2
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    old.set_ciphers("AES128-SHA:@SECLEVEL=0")  # without forward secrecy
    for context in (stranger, old):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            async with connected(edge.port, context):
                pass
    async with connected(edge.port) as (reader, writer):
        writer.write(GET)  # in clear text
        assert (await until_closed(reader)).status is None


async def test_who_takes_too_long_is_hung_up_on_before_and_after_the_handshake(
    edge: Edge, authority: Authority
) -> None:
    async with connected(edge.port) as (reader, writer):  # says nothing
        assert (await until_closed(reader)).status is None
    async with connected(edge.port) as (reader, writer):  # a handshake, byte by byte
        hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 400
        slow = asyncio.create_task(trickle(writer, hello))
        assert (await until_closed(reader)).status is None
        assert not slow.done()
        slow.cancel()
    async with connected(edge.port, authority.trusted()) as (reader, writer):
        slow = asyncio.create_task(trickle(writer, GET[:-2] + b"X: " + b"x" * 1_000))
        heard = await until_closed(reader)
        slow.cancel()

    assert (heard.status, heard.json["code"]) == (408, "request_too_slow")


@asynccontextmanager
async def reading_nothing(edge: Edge, tls: ssl.SSLContext) -> AsyncIterator[Streams]:
    """A caller that takes a few bytes at most until it reads."""
    reader, writer = await asyncio.open_connection(
        sock=deaf(edge.port), ssl=tls, server_hostname="localhost", limit=4_096
    )
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


def asking(edge: Edge, header: bytes = b"X-A: b") -> bytes:
    head = b"POST /v1/long/echo HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n%s\r\n"
    length = b"Content-Length: 12\r\n\r\n"
    return head % (edge.api_key.encode(), header) + length + b'{"text":"a"}'


@pytest.fixture
async def impatient(  # noqa: PLR0917 - fixtures, by name
    nats: Client,
    nats_url: str,
    database_url: str,
    ledger: Connection,
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Edge]:
    look_often(monkeypatch)
    files = authority.issue("edge")
    async with running(
        nats,
        nats_url,
        database_url,
        ledger,
        tls_certificate=str(files.certificate),
        tls_key=str(files.key),
        keep_alive_s=0.1,
        unread_s=8.0,
    ) as started:
        await started.serve(at_length, model="long")
        yield started


async def test_an_answer_is_waited_for_however_short_idle_connections_are_kept(
    impatient: Edge, authority: Authority
) -> None:
    async def heard(header: bytes) -> Heard:
        async with reading_nothing(impatient, authority.trusted()) as (reader, writer):
            writer.write(asking(impatient, header))
            await asyncio.sleep(5)  # an idle one would be gone, and so would who lingers
            return await until_closed(reader)

    for answer in await asyncio.gather(heard(b"Connection: close"), heard(b"X-A: b")):
        assert answer.body == LONG


async def test_who_takes_nothing_of_an_answer_is_hung_up_on(
    impatient: Edge, authority: Authority
) -> None:
    async with (
        reading_nothing(impatient, authority.trusted()) as (_, kept),
        reading_nothing(impatient, authority.trusted()) as (_, closed),
        impatient.counting(UNREAD, more=2),
    ):
        kept.write(asking(impatient))
        closed.write(asking(impatient, b"Connection: close"))


async def test_handshakes_count_as_connections(
    nats: Client, nats_url: str, database_url: str, ledger: Connection, authority: Authority
) -> None:
    files = authority.issue("edge")
    async with running(
        nats,
        nats_url,
        database_url,
        ledger,
        tls_certificate=str(files.certificate),
        tls_key=str(files.key),
        max_connections=1,
        head_s=PATIENCE_S,
    ) as edge:
        async with connected(edge.port):  # says nothing
            await until(lambda: _is_refused(edge.port))
        await until(lambda: _has_room(edge.port, authority))


async def _has_room(port: int, authority: Authority) -> bool:
    with suppress(ConnectionError):
        async with connected(port, authority.trusted()):
            return True
    return False


async def _is_refused(port: int) -> bool:
    async with connected(port) as (reader, _):
        with suppress(TimeoutError):
            async with asyncio.timeout(0.2):
                return (await until_closed(reader)).status is None
    return False


@pytest.mark.parametrize("header", [b"", b"Connection: close\r\n"], ids=["idle", "close"])
async def test_who_does_not_answer_that_we_hang_up_is_let_go_of(  # noqa: PLR0917 - fixtures
    nats: Client,
    nats_url: str,
    database_url: str,
    ledger: Connection,
    authority: Authority,
    header: bytes,
) -> None:
    files = authority.issue("edge")
    async with (
        running(
            nats,
            nats_url,
            database_url,
            ledger,
            tls_certificate=str(files.certificate),
            tls_key=str(files.key),
            max_connections=1,
            keep_alive_s=0.1,
        ) as edge,
        connected(edge.port, authority.trusted()) as (reader, writer),
    ):
        writer.write(GET[:-2] + header + b"\r\n")
        transport: Any = writer.transport
        assert (await one_answer(reader)).status == 200
        transport.pause_reading()
        await until(lambda: _has_room(edge.port, authority))


async def test_a_renewed_certificate_is_taken_up_and_open_connections_go_on(
    edge: Edge, authority: Authority, tmp_path: Path
) -> None:
    def subject(writer: asyncio.StreamWriter) -> str:
        certificate = writer.get_extra_info("peercert")
        return str(certificate["serialNumber"])

    folder = tmp_path / "ca"
    async with connected(edge.port, authority.trusted()) as (reader, writer):
        before = subject(writer)
        renewed = authority.issue("renewed")
        # a moment at which one is written and the other not yet
        shutil.copy(renewed.certificate, folder / "edge.crt")
        shutil.copy(renewed.key, folder / "edge.key")

        async def is_new() -> bool:
            async with connected(edge.port, authority.trusted()) as (_, other):
                return subject(other) != before

        await until(is_new)
        async with httpx.AsyncClient(verify=authority.trusted(), timeout=PATIENCE_S) as client:
            assert (await client.get(f"https://localhost:{edge.port}/v1/models")).status_code == 200
    del reader


def test_files_that_do_not_fit_change_nothing(authority: Authority) -> None:
    files, other = authority.issue("one"), authority.issue("other")
    certificate = Certificate(files.certificate, files.key)
    first = certificate.context

    shutil.copy(other.certificate, files.certificate)
    certificate.look()
    assert certificate.context is first
    shutil.copy(other.key, files.key)
    certificate.look()
    assert certificate.context is not first
    files.key.unlink()
    certificate.look()


def settings(files: Files, **changes: str) -> Settings:
    found = Settings(
        nats_url="",
        database_url="",
        key_secret="",
        admin_token="",
        tls_certificate=str(files.certificate),
        tls_key=str(files.key),
    )
    return replace(found, **changes)


def test_a_certificate_that_cannot_be_used_is_named(authority: Authority) -> None:
    files, other = authority.issue("one"), authority.issue("other")
    for changes in (
        {"tls_key": ""},
        {"tls_certificate": ""},
        {"tls_key": str(other.key)},
        {"tls_certificate": "/nowhere"},
        {"tls_certificate": str(files.key)},
    ):
        with pytest.raises(BadSetting, match="TOLLGATE_TLS_"):
            read_certificate(settings(files, **changes))
    assert read_certificate(settings(files, tls_certificate="", tls_key="")) is None

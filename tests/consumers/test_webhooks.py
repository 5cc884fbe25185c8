"""Posting to customers: where it goes, and where it does not."""

import asyncio
import socket
import ssl
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import httpcore
import pytest

from consumers.errors import NotDelivered, Undeliverable
from consumers.hooks import SHARE
from consumers.webhooks import Poster, Posting
from deploy.local.ports import free_port
from events import jobs, streams
from events.ids import new_id
from events.jobs import JobFinished
from events.webhooks import check_url, is_public
from ledger.accounts import create_account
from ledger.budgets import set_webhook
from tests.consumers.pipeline import Pipeline
from tests.consumers.test_budgets import receiving
from tests.waiting import until

SECRET = "whsec_c2VjcmV0"
INSIDE = (
    "127.0.0.1",
    "::1",
    "::ffff:127.0.0.1",
    "::",
    "0.0.0.0",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.0.1",
    "100.64.0.1",
    "169.254.169.254",
    "fe80::1%lo",
    "fd00::1",
    "fec0::1",
    "64:ff9b::7f00:1",  # NAT64 of 127.0.0.1
    "2002:a00:1::",  # 6to4 of 10.0.0.1
    "224.0.0.1",
    "ff02::1",
    "255.255.255.255",
)
OUTSIDE = ("93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "64:ff9b::5db8:d70e")


def a_posting(url: str, *, for_s: float = 60.0) -> Posting:
    return Posting(url=url, secret=SECRET, id="job_1", body=b"{}", until=time.time() + for_s)


class Names:
    """What names resolve to, and how often that was asked."""

    def __init__(self) -> None:
        self.answers: list[list[str]] = []
        self.asked = 0

    async def getaddrinfo(self, _host: str, port: int, **_: Any) -> list[Any]:
        self.asked += 1
        addresses = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in addresses]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Names:
    made = Names()
    monkeypatch.setattr("asyncio.base_events.BaseEventLoop.getaddrinfo", _as_method(made))
    return made


def _as_method(names: Names) -> Any:
    async def getaddrinfo(_loop: object, host: str, port: int, **options: Any) -> list[Any]:
        return await names.getaddrinfo(host, port, **options)

    return getaddrinfo


@pytest.fixture
def dialled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Addresses that were connected to; nobody is there."""
    hosts: list[str] = []

    async def connect_tcp(_: object, host: str, *_args: object, **_options: object) -> None:
        hosts.append(host)
        raise httpcore.ConnectError

    monkeypatch.setattr(httpcore.AnyIOBackend, "connect_tcp", connect_tcp)
    return hosts


@pytest.mark.parametrize("address", INSIDE)
async def test_nothing_is_posted_to_an_address_of_ours(address: str, dialled: list[str]) -> None:
    host = f"[{address}]" if ":" in address else address
    with pytest.raises(Undeliverable, match="not posted to"):
        await Poster(inside=False).post(a_posting(f"https://{host}/hook"))

    assert not is_public(address)
    assert not dialled


@pytest.mark.parametrize("address", INSIDE)
async def test_nor_to_a_name_that_leads_there(
    address: str, names: Names, dialled: list[str]
) -> None:
    names.answers = [[OUTSIDE[0], address]]
    with pytest.raises(Undeliverable, match="not to the internet alone"):
        await Poster(inside=False).post(a_posting("https://hook.example.com/"))

    assert not dialled


@pytest.mark.parametrize("number", ["2130706433", "0x7f.1", "127.1", "localhost"])
async def test_nor_to_other_ways_of_writing_one(number: str, dialled: list[str]) -> None:
    with pytest.raises(Undeliverable, match="not to the internet alone"):
        await Poster(inside=False).post(a_posting(f"https://{number}/"))

    assert not dialled


@pytest.mark.parametrize("address", OUTSIDE)
async def test_a_name_is_resolved_once_and_the_connection_goes_there(
    address: str, names: Names, dialled: list[str]
) -> None:
    """Who answers with another address the second time is not asked a second time."""
    names.answers = [[address], ["127.0.0.1"]]
    with pytest.raises(NotDelivered):
        await Poster(inside=False).post(a_posting("https://hook.example.com/"))

    assert dialled == [address]
    assert names.asked == 1


async def test_a_redirect_is_not_followed() -> None:
    async with receiving() as receiver, receiving() as inner:
        receiver.answers = [307]
        receiver.headers = [(b"location", inner.url.encode())]
        with pytest.raises(NotDelivered, match="307"):
            await Poster(inside=True).post(a_posting(receiver.url))

    assert len(receiver.got) == 1
    assert not inner.got


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/",
        "ftp://example.com/",
        "https://",
        "https://user:secret@example.com/",
        "https://example.com:0/",
        "https://example.com:99999/",
        "https://exa mple.com/",
        "https://example.com/\r\nHost: x",
        "//example.com/",
        f"https://example.com/{'x' * 2_000}",
        "https://[::1/",
    ],
)
def test_a_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        check_url(url, inside=False)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[nonsense"])
async def test_what_is_refused_is_told_of_without_its_tokens(host: str) -> None:
    with pytest.raises(Undeliverable, match="not posted to") as refused:
        await Poster(inside=False).post(a_posting(f"https://{host}/T0KEN?key=T0KEN"))

    assert "T0KEN" not in str(refused.value)


async def test_what_is_not_taken_in_time_is_given_up() -> None:
    async with receiving() as receiver:
        receiver.answers = [500, 500]
        with pytest.raises(NotDelivered):
            await Poster(inside=True).post(a_posting(receiver.url))
        with pytest.raises(Undeliverable, match="given up"):
            await Poster(inside=True).post(a_posting(receiver.url, for_s=-1.0))


async def test_tls_asks_for_the_name_that_the_url_has(
    names: Names, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    subprocess.run(  # noqa: ASYNC221 - nothing else runs in this loop yet
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"),
            *("-keyout", key, "-out", certificate, "-subj", "/CN=hook.example.com"),
            *("-addext", "subjectAltName=DNS:hook.example.com"),
        ],
        check=True,
        capture_output=True,
    )
    monkeypatch.setattr("certifi.where", lambda: str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    asked: list[str | None] = []
    heard: list[bytes] = []
    context.sni_callback = lambda _socket, name, _context: asked.append(name)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        await writer.drain()
        writer.close()

    port = free_port()
    names.answers = [["127.0.0.1"]]
    async with await asyncio.start_server(answer, "127.0.0.1", port, ssl=context):
        await Poster(inside=True).post(a_posting(f"https://hook.example.com:{port}/a?b"))
        with pytest.raises(NotDelivered, match=r"(?i)hostname mismatch"):
            await Poster(inside=True).post(a_posting(f"https://other.example.com:{port}/"))

    assert asked[0] == "hook.example.com"
    assert heard[0].startswith(b"POST /a?b HTTP/1.1\r\n")
    assert f"host: hook.example.com:{port}\r\n".encode() in heard[0].lower()


def finished(account_id: UUID) -> JobFinished:
    now = datetime.now(UTC)
    return JobFinished(
        job_id=new_id(),
        account_id=account_id,
        model="m",
        task="t",
        http_code=200,
        url="https://example.com/v1/jobs/1",
        created_on=now,
        timestamp=now,
    )


async def state(pipeline: Pipeline, *events: JobFinished) -> None:
    jetstream = pipeline.nats.jetstream()
    await asyncio.gather(
        *[jetstream.publish(event.subject, jobs.encode_event(event)) for event in events]
    )


async def test_a_receiver_that_fails_holds_up_nobody_else(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More events than any other consumer may have in hand come back later, again and again."""
    monkeypatch.setattr("consumers.hooks.SOON_S", 3_600.0)
    monkeypatch.setattr("consumers.hooks.LATE_S", 3_600.0)
    failing, other = [await create_account(pipeline.ledger, "tests") for _ in range(2)]
    await set_webhook(pipeline.ledger, failing.id, f"http://127.0.0.1:{free_port()}/")
    async with receiving() as receiver:
        await set_webhook(pipeline.ledger, other.id, receiver.url)
        await state(pipeline, *[finished(failing.id) for _ in range(streams.FETCH)])
        await state(pipeline, finished(other.id))
        async with pipeline.consuming():
            await until(lambda: receiver.got)  # a small part of the hour that failing posts wait


async def test_a_receiver_that_is_slow_has_its_share_of_posts(pipeline: Pipeline) -> None:
    slow, other = [await create_account(pipeline.ledger, "tests") for _ in range(2)]
    held: list[asyncio.StreamWriter] = []
    most = 0

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal most
        held.append(writer)
        most = max(most, len(held))
        await reader.read()  # until the poster has had enough
        held.remove(writer)
        writer.close()

    port = free_port()
    async with receiving() as receiver, await asyncio.start_server(hang, "127.0.0.1", port):
        await set_webhook(pipeline.ledger, slow.id, f"http://127.0.0.1:{port}/")
        await set_webhook(pipeline.ledger, other.id, receiver.url)
        await state(pipeline, *[finished(slow.id) for _ in range(5 * SHARE)])
        await state(pipeline, finished(other.id))
        async with pipeline.consuming(drain_s=0.1):
            await until(lambda: len(held) == SHARE)
            await until(lambda: receiver.got)
            assert held

    assert most == SHARE


async def test_a_job_that_is_finished_is_told_of(pipeline: Pipeline) -> None:
    account = await create_account(pipeline.ledger, "tests")
    event = finished(account.id)
    async with receiving() as own, receiving() as given:
        await set_webhook(pipeline.ledger, account.id, own.url)
        for url in ("account", given.url, "http://[nonsense/"):
            await pipeline.nats.jetstream().publish(
                event.subject, jobs.encode_event(event), headers={jobs.WEBHOOK: url}
            )
        async with pipeline.consuming():
            await until(lambda: own.got and given.got)
            await pipeline.until_settled(streams.COMPLETIONS)
            parked = await pipeline.parked()

    for receiver in (own, given):
        [(headers, body)] = receiver.got
        assert headers["webhook-id"] == f"job_{event.job_id}"
        assert jobs.decode_event(body) == event
    assert [message.subject for message in parked] == ["parked.COMPLETIONS"]

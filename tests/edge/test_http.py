"""The edge on raw sockets: what is slow, large or ambiguous is refused, and the rest is served."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from edge.errors import EdgeFull, TooManyConnections
from edge.server import http
from edge.server.connections import Connections
from edge.server.head import HEAD_BYTES, HEADERS, URI_BYTES
from edge.settings import BadSetting, Settings
from events.inference import Ask
from ledger.db import Connection
from tests.edge.raw import (
    LONG,
    UNREAD,
    at_length,
    connected,
    deaf,
    look_often,
    one_answer,
    say,
    trickle,
    unsent,
    until_closed,
)
from tests.edge.running import Edge, answered, hold, reply, running
from tests.waiting import PATIENCE_S, until

SOON_S = 1.0
HASTY = {"head_s": SOON_S, "body_s": SOON_S, "unread_s": SOON_S, "keep_alive_s": SOON_S}
PATH = "/v1/good/echo"
BODY = b'{"text": "hello"}'
GET = b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n"


async def echo(message: Msg, ask: Ask) -> None:
    await reply(message, answered(ask.input))


@pytest.fixture
async def good(edge: Edge) -> Edge:
    await edge.serve(echo, model="good")
    return edge


@pytest.fixture
async def hasty(
    nats: Client,
    nats_url: str,
    database_url: str,
    ledger: Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Edge]:
    look_often(monkeypatch)
    async with running(nats, nats_url, database_url, ledger, **HASTY) as started:
        await started.serve(echo, model="good")
        yield started


def posting(edge: Edge, *headers: bytes, body: bytes = BODY, close: bool = True) -> bytes:
    lines = [
        f"POST {PATH} HTTP/1.1".encode(),
        b"Host: x",
        f"Authorization: Bearer {edge.api_key}".encode(),
        *([b"Connection: close"] if close else []),
        *(headers or [b"Content-Length: %d" % len(body)]),
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


async def test_a_whole_request_is_answered_however_it_is_cut(good: Edge) -> None:
    async with connected(good.port) as (reader, writer):
        await trickle(writer, posting(good), every_s=0)
        answer = await until_closed(reader)

    assert (answer.status, answer.body) == (200, BODY)


async def test_who_takes_too_long_is_hung_up_on(hasty: Edge, subtests: pytest.Subtests) -> None:
    head = posting(hasty, b"Content-Length: 1000", body=b"")
    cases = {
        "silent": (b"", b"", None),
        "a head byte by byte": (b"", GET[:-4] + b"\r\nX: " + b"y" * 1_000, 408),
        "a body byte by byte": (head, b"x" * 1_000, 408),
        "chunks byte by byte": (
            posting(hasty, b"Transfer-Encoding: chunked", body=b""),
            b"1\r\nx\r\n" * 200,
            408,
        ),
        "an extension without end": (
            posting(hasty, b"Transfer-Encoding: chunked", body=b"1;"),
            b"x" * 1_000,
            408,
        ),
    }
    for name, (at_once, then, status) in cases.items():
        with subtests.test(name):
            async with connected(hasty.port) as (reader, writer):
                writer.write(at_once)
                slow = asyncio.create_task(trickle(writer, then))
                heard = await until_closed(reader)
                assert not slow.done() or not then
                slow.cancel()
            assert heard.status == status
            if status is not None:
                assert heard.json["code"] == "request_too_slow"
                assert heard.headers["connection"] == "close"
    assert await hasty.metered() == 0


async def test_control_who_is_given_the_time_may_take_it(good: Edge) -> None:
    async with connected(good.port) as (reader, writer):
        await trickle(writer, posting(good), every_s=0.01)  # longer than the hasty would wait
        answer = await until_closed(reader)

    assert answer.status == 200


async def test_an_idle_connection_is_closed_whatever_is_sent_between_requests(
    hasty: Edge, subtests: pytest.Subtests
) -> None:
    for between in (b"", b"\r\n" * 500):
        with subtests.test(between=between[:4]):
            async with connected(hasty.port) as (reader, writer):
                writer.write(GET)
                assert (await one_answer(reader)).status == 200
                slow = asyncio.create_task(trickle(writer, between))
                assert (await until_closed(reader)).status is None
                slow.cancel()


async def test_a_body_that_nobody_wants_is_not_waited_for(good: Edge) -> None:
    head = b"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n"
    async with connected(good.port) as (reader, writer):
        writer.write(head)
        slow = asyncio.create_task(trickle(writer, b"x" * 10_000))
        heard = await until_closed(reader)
        assert not slow.done()
        slow.cancel()

    assert heard.status == 404


async def test_who_takes_nothing_of_an_answer_is_hung_up_on(hasty: Edge) -> None:
    await hasty.serve(at_length, model="long")
    loop = asyncio.get_running_loop()

    with deaf(hasty.port) as caller:
        async with hasty.counting(UNREAD):
            await loop.sock_sendall(caller, posting(hasty).replace(b"/good/", b"/long/"))
        received = 0
        with suppress(ConnectionResetError):
            while data := await loop.sock_recv(caller, 2**20):
                received += len(data)

    assert received < len(LONG)


@pytest.mark.parametrize(
    ("most", "little"), [(http.UNSENT_BYTES, True), (2**30, False)], ids=["ours", "control"]
)
async def test_the_kernel_copies_little_of_an_answer_that_nobody_reads(
    good: Edge, monkeypatch: pytest.MonkeyPatch, most: int, *, little: bool
) -> None:
    monkeypatch.setattr(http, "UNSENT_BYTES", most)
    await good.serve(at_length, model="long")
    seen = [0]

    def rests() -> bool:
        """Whether something has been sent, and no more since the last look."""
        seen.append(unsent(caller))
        return 0 < seen[-1] == seen[-2]

    with deaf(good.port) as caller:
        request = posting(good).replace(b"/good/", b"/long/")
        await asyncio.get_running_loop().sock_sendall(caller, request)
        await until(rests)

    assert (seen[-1] < 2**19) == little


async def test_control_who_takes_it_slowly_gets_all_of_it(hasty: Edge) -> None:
    await hasty.serve(at_length, model="long")
    loop = asyncio.get_running_loop()
    received = b""
    with deaf(hasty.port) as caller:
        await loop.sock_sendall(caller, posting(hasty).replace(b"/good/", b"/long/"))
        async with asyncio.timeout(PATIENCE_S):
            while data := await loop.sock_recv(caller, 65_536):
                received += data
                if len(received) < 60_000:  # for longer than who takes nothing is waited for
                    await asyncio.sleep(0.1)

    assert received.endswith(LONG)


AMBIGUOUS = {
    "two lengths": b"Content-Length: 17\r\nContent-Length: 18",
    "the same length twice": b"Content-Length: 17\r\nContent-Length: 17",
    "a list of lengths": b"Content-Length: 17, 17",
    "a length with a sign": b"Content-Length: +17",
    "a length and chunks": b"Content-Length: 17\r\nTransfer-Encoding: chunked",
    "chunks and a length": b"Transfer-Encoding: chunked\r\nContent-Length: 17",
    "an unknown coding": b"Transfer-Encoding: xchunked",
    "chunked, but not last": b"Transfer-Encoding: chunked, identity",
    "chunked twice": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    "a folded header": b"Content-Length: 17\r\nX-A: b\r\n c: d",
    "a space before the colon": b"Content-Length : 17",
    "no colon": b"Content-Length: 17\r\nX-A",
    "a bare CR in a value": b"Content-Length: 17\r\nX-A: b\rc",
    "a NUL in a value": b"Content-Length: 17\r\nX-A: b\0c",
    "two hosts": b"Content-Length: 17\r\nHost: y",
}


async def test_what_two_servers_may_read_differently_is_refused(
    good: Edge, subtests: pytest.Subtests
) -> None:
    for name, headers in AMBIGUOUS.items():
        with subtests.test(name):
            heard = await say(good.port, posting(good, headers))
            assert heard.status in {400, 415}, heard
            assert heard.json["code"] in {"malformed_request", "compressed_body"}
    lines = {
        "no host": b"GET /v1/models HTTP/1.1\r\n\r\n",
        "HTTP/0.9": b"GET /v1/models\r\n\r\n",
        "HTTP/2 by name": b"GET /v1/models HTTP/2.0\r\nHost: x\r\n\r\n",
        "HTTP/1.2": b"GET /v1/models HTTP/1.2\r\nHost: x\r\n\r\n",
        "HTTP/2 by its preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "a method of nobody's": b"STEAL / HTTP/1.1\r\nHost: x\r\n\r\n",
        "a bare LF": b"GET /v1/models HTTP/1.1\nHost: x\n\n",
        "a tunnel": b"CONNECT example.com:443 HTTP/1.1\r\nHost: x\r\n\r\n",
        "chunks of HTTP/1.0": posting(
            good, b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"
        ).replace(b"/1.1", b"/1.0"),
        "a chunk of no size": posting(good, b"Transfer-Encoding: chunked", body=b"x\r\n"),
        "a chunk that is longer": posting(
            good, b"Transfer-Encoding: chunked", body=b"1\r\nxx\r\n0\r\n\r\n"
        ),
    }
    for name, request in lines.items():
        with subtests.test(name):
            heard = await say(good.port, request)
            assert heard.status == 400, heard
            assert heard.json["code"] == "malformed_request"
    assert await good.metered() == 0


async def test_a_head_is_bounded(good: Edge, subtests: pytest.Subtests) -> None:
    line = b"GET /v1/models HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    value = b"X-A: " + b"a" * 5_000 + b"\r\n"
    uri = b"/v1/models?" + b"a" * URI_BYTES
    cases = {
        "many headers": (line + b"X-A: b\r\n" * HEADERS + b"\r\n", 431),
        "large headers": (line + value * (HEAD_BYTES // 5_000 + 1) + b"\r\n", 431),
        "a header without end": (line + b"X-A: " + b"a" * 2**20, 431),
        "a name without end": (line + b"a" * 2**20, 431),
        "a long line": (b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % uri, 414),
        "a line without end": (b"GET /" + b"a" * 2**20, 431),
        "trailers without end": (
            posting(good, b"Transfer-Encoding: chunked", body=b"0\r\n" + value * 200),
            431,
        ),
        "all that is allowed": (line + b"X-A: b\r\n" * (HEADERS - 2) + b"\r\n", 200),
    }
    for name, (request, status) in cases.items():
        with subtests.test(name):
            heard = await say(good.port, request)
            assert heard.status == status
            assert heard.headers["x-request-id"]


async def test_trailers_are_no_headers(good: Edge) -> None:
    key = f"Authorization: Bearer {good.api_key}\r\n".encode()
    chunked = b"%x\r\n%s\r\n0\r\n" % (len(BODY), BODY)
    request = posting(good, b"Transfer-Encoding: chunked", body=chunked + b"X-A: b\r\n\r\n")

    served = await say(good.port, request)
    refused = await say(good.port, request.replace(key, b"").replace(b"X-A: b\r\n", key))

    assert (served.status, served.body) == (200, BODY)
    assert (refused.status, refused.json["code"]) == (401, "missing_key")


async def test_who_waits_to_be_let_on_hears_it_only_if_the_body_is_wanted(good: Edge) -> None:
    head = posting(
        good, b"Expect: 100-continue", b"Content-Length: %d" % len(BODY), body=b"", close=False
    )
    async with connected(good.port) as (reader, writer):
        writer.write(head)
        go_on = await one_answer(reader)
        writer.write(BODY)
        answer = await one_answer(reader)
    stranger = await say(good.port, head.replace(b"Authorization", b"X-Authorization"))

    assert (go_on.status, answer.status, stranger.status) == (100, 200, 401)


@pytest.mark.parametrize("to", [b"h2c", b"websocket"])
async def test_who_asks_for_another_protocol_is_answered_in_this_one(good: Edge, to: bytes) -> None:
    headers = [b"Connection: Upgrade", b"Upgrade: " + to, b"Content-Length: %d" % len(BODY)]
    request = posting(good, *headers, close=False)
    posted = await say(good.port, request + b"\x00\x00\x12\x04")
    async with connected(good.port) as (reader, writer):
        await trickle(writer, request, every_s=0)
        in_pieces = await until_closed(reader)
    asked = await say(good.port, GET[:-2] + b"\r\n".join(headers[:2]) + b"\r\n\r\n" + GET)

    assert (posted.status, posted.body) == (in_pieces.status, in_pieces.body) == (200, BODY)
    assert asked.status == 200
    assert asked.headers["connection"] == "close"
    assert asked.body.count(b"HTTP/1.1") == 0  # what follows is of that protocol


async def test_every_method_is_answered(good: Edge, subtests: pytest.Subtests) -> None:
    for path in (PATH, "/v1/models", "/nowhere", "/docs"):
        for method in ("HEAD", "OPTIONS", "TRACE", "PATCH", "PROPFIND"):
            with subtests.test(method=method, path=path):
                line = f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                heard = await say(good.port, f"{line}Cookie: a=b\r\n\r\n".encode())
                assert heard.status in {200, 204, 404, 405}
                assert b"Cookie" not in heard.body
                if method == "HEAD":
                    assert heard.body == b""


async def test_a_whole_url_in_the_request_line_is_understood(good: Edge) -> None:
    request = GET.replace(b"/v1", b"http://elsewhere.example/v1", 1)
    async with connected(good.port) as (reader, writer):
        writer.write(request)
        assert (await one_answer(reader)).status == 200


async def test_garbage_behind_a_request_is_not_answered_in_its_place(good: Edge) -> None:
    gate = asyncio.Event()
    asked = asyncio.Event()

    async def wait(message: Msg, ask: Ask) -> None:
        asked.set()
        await hold(message, gate)
        await echo(message, ask)

    await good.serve(wait, model="slow")
    async with connected(good.port) as (reader, writer):
        writer.write(posting(good, close=False).replace(b"/good/", b"/slow/"))
        await asked.wait()
        writer.write(b"\0\0\0\0\r\n\r\n")
        heard = await until_closed(reader)
    gate.set()

    assert heard.status is None


async def test_an_edge_that_is_full_says_so(
    nats: Client, nats_url: str, database_url: str, ledger: Connection
) -> None:
    async with running(nats, nats_url, database_url, ledger, max_connections=2) as edge:
        async with connected(edge.port), connected(edge.port) as (reader, writer):
            full = await say(edge.port, GET)
            writer.write(GET)
            assert (await one_answer(reader)).status == 200

        async def has_room() -> bool:
            return (await say(edge.port, GET[:-2] + b"Connection: close\r\n\r\n")).status == 200

        await until(has_room)

    assert (full.status, full.json["code"]) == (503, "edge_full")
    assert full.headers["retry-after"] == "1"


class Dummy:
    def look(self, now: float) -> None:
        raise AssertionError(now)


def limited(**settings: object) -> Connections:
    return Connections(
        Settings(
            nats_url="",
            database_url="",
            key_secret="",
            admin_token="",
            max_connections_per_address=2,
            **settings,  # type: ignore[arg-type] # a test's own
        )
    )


@pytest.mark.parametrize(
    ("addresses", "fits"),
    [
        (["192.0.2.1"] * 3, False),
        (["192.0.2.1", "::ffff:192.0.2.1", "192.0.2.1"], False),
        (["192.0.2.1", "192.0.2.2", "192.0.2.3"], True),
        (["2001:db8::1", "2001:db8::2", "2001:db8::3"], False),  # one network
        (["2001:db8::1", "2001:db8:0:1::1", "2001:db8:0:2::1"], True),
        (["fe80::1%eth0"] * 3, False),
        (["127.0.0.1"] * 3, True),
        (["::1"] * 3, True),
        (["10.1.2.3"] * 3, True),  # a proxy's
        ([""] * 3, True),
    ],
)
def test_an_address_has_only_so_many_connections(addresses: list[str], *, fits: bool) -> None:
    connections = limited(trusted_proxies="10.0.0.0/8, 203.0.113.7")
    first, *others = [Dummy() for _ in addresses]
    connections.join(first, addresses[0])
    try:
        for connection, address in zip(others, addresses[1:], strict=True):
            connections.join(connection, address)
    except TooManyConnections:
        assert not fits
    else:
        assert fits
    connections.leave(first)
    connections.leave(first)
    connections.join(first, addresses[-1])


def test_a_process_has_only_so_many_connections() -> None:
    connections = limited(max_connections=1)
    connections.join(Dummy(), "192.0.2.1")

    with pytest.raises(EdgeFull):
        connections.join(Dummy(), "192.0.2.2")


def test_a_proxy_that_is_no_address_is_named() -> None:
    with pytest.raises(BadSetting, match=r"TOLLGATE_TRUSTED_PROXIES.*example"):
        limited(trusted_proxies="10.0.0.0/8,example.com")

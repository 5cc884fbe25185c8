"""Bytes on a socket: what no HTTP client would send."""

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct
from nats.aio.msg import Msg

from edge.server import connections
from events.inference import Ask
from tests.edge.running import answered, reply
from tests.waiting import PATIENCE_S

LONG = b'{"text":"%s"}' % (b"x" * 8 * 2**20)  # more than the kernel takes off our hands
UNREAD = 'cut_off_total{reason="answer_not_read"}'  # how an edge counts who reads nothing
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have edges look at their connections ten times a second.

    Their clock goes on by two looks at a time at most: a caller has a second in many steps, and
    is not cut off because one of them came between what it sent and the reading of that.
    """
    monkeypatch.setattr(connections, "LOOK_S", 0.1)


class Heard(Struct, frozen=True):
    """What came back until the server hung up."""

    status: int | None  # None where it said nothing
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


async def at_length(message: Msg, ask: Ask) -> None:
    """Answer as a worker with `LONG`."""
    del ask
    await reply(message, answered(LONG))


def deaf(port: int) -> socket.socket:
    """Connected, and for asyncio; takes a few bytes at most until it is read."""
    found = socket.socket()
    found.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    found.connect(("127.0.0.1", port))
    found.settimeout(0)
    return found


def unsent(caller: socket.socket) -> int:
    """Bytes that an edge's kernel holds for a caller on this machine; /proc/net/tcp, proc(5)."""
    ends = [f"{port:04X}" for _, port in (caller.getpeername(), caller.getsockname())]
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()]
    (found,) = [row for row in rows if [end[-4:] for end in row[1:3]] == ends]
    return int(found[4].partition(":")[0], base=16)


@asynccontextmanager
async def connected(port: int, tls: ssl.SSLContext | None = None) -> AsyncIterator[Streams]:
    name = "localhost" if tls else None
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=tls, server_hostname=name)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def until_closed(reader: asyncio.StreamReader) -> Heard:
    """All that is said before the server hangs up."""
    heard = b""
    with suppress(ConnectionResetError):
        async with asyncio.timeout(PATIENCE_S):
            while data := await reader.read(65_536):
                heard += data
    return _parsed(heard)


async def one_answer(reader: asyncio.StreamReader) -> Heard:
    """One answer on a connection that goes on."""
    async with asyncio.timeout(PATIENCE_S):
        head = await reader.readuntil(b"\r\n\r\n")
        found = _parsed(head)
        length = int(found.headers.get("content-length", 0))
        return Heard(found.status, found.headers, await reader.readexactly(length))


async def say(port: int, request: bytes) -> Heard:
    """What is said to `request`, until the server hangs up."""
    async with connected(port) as (reader, writer):
        writer.write(request)
        return await until_closed(reader)


async def trickle(writer: asyncio.StreamWriter, data: bytes, every_s: float = 0.02) -> None:
    """Send byte by byte."""
    with suppress(ConnectionError):
        for byte in data:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(every_s)


def _parsed(heard: bytes) -> Heard:
    if not heard:
        return Heard(None, {}, b"")
    head, _, body = heard.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return Heard(int(first.split(" ")[1]), headers, body)

"""A caller that costs the cores little, which it shares with what it measures."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import httpx

from tests.edge import raw

POST: Final = (
    "POST {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\n"
    "Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
)


class Caller:
    """Sends when it is told to, on as many connections as that takes, and keeps them.

    A library for HTTP takes milliseconds of a core for each request: from a hundred a second
    on it is the caller that has a queue.
    """

    def __init__(self, url: str) -> None:
        self._url = httpx.URL(url)
        self._idle: list[raw.Streams] = []

    async def post(self, path: str, key: str, body: bytes) -> raw.Heard:
        """Send, and wait for the whole answer."""
        reader, writer = await self._connected()
        head = POST.format(path=path, host=self._url.host, key=key, length=len(body))
        writer.write(head.encode() + body)
        heard = await raw.one_answer(reader)
        self._idle.append((reader, writer))
        return heard

    async def _connected(self) -> raw.Streams:
        while self._idle:
            reader, writer = self._idle.pop()
            if not reader.at_eof():  # the other end closes those that were idle for long
                return reader, writer
        return await asyncio.open_connection(self._url.host, self._url.port)

    def hang_up(self) -> None:
        """Close all connections that are not in use."""
        for _, writer in self._idle:
            writer.transport.abort()


@asynccontextmanager
async def a_caller(url: str) -> AsyncIterator[Caller]:
    """One that hangs up at the end."""
    caller = Caller(url)
    try:
        yield caller
    finally:
        caller.hang_up()

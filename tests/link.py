"""A TCP link that a test can cut: how outages and lost acknowledgements are made."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

CHUNK = 65_536


class Link:
    """Forwards a loopback port to a server's, until told otherwise."""

    def __init__(self, host: str, port: int) -> None:
        self._target = host, port
        self._server: asyncio.Server | None = None
        self._pairs: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._deaf = False
        self._down = False
        self.port = 0

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server
        self._server.close()
        self.cut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def swallow_replies(self) -> None:
        """From now on nothing comes back from the server; it still hears everything."""
        self._deaf = True

    def cut(self) -> None:
        """Break every connection and take no new ones."""
        self._down = True
        for one, other in self._pairs:
            one.transport.abort()
            other.transport.abort()

    def restore(self) -> None:
        """Break what is broken anyway, and forward again."""
        self.cut()
        self._deaf = self._down = False

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if self._down:
            writer.transport.abort()
            return
        try:
            server_reader, server_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        pair = writer, server_writer
        self._pairs.add(pair)
        # cancelled only by `stop`; asyncio would log it as an error of ours
        with contextlib.suppress(asyncio.CancelledError):
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pump(reader, server_writer, replies=False))
                both.create_task(self._pump(server_reader, writer, replies=True))
        self._pairs.discard(pair)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, replies: bool
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK):
                if not (replies and self._deaf):
                    writer.write(data)
                    await writer.drain()
        writer.transport.abort()


@asynccontextmanager
async def linked(url: str) -> AsyncIterator[tuple[Link, str]]:
    """A link to the server of `url`, and the same URL through it."""
    parts = urlsplit(url)
    assert parts.hostname
    assert parts.port
    link = Link(parts.hostname, parts.port)
    await link.start()
    try:
        yield link, url.replace(f":{parts.port}", f":{link.port}")
    finally:
        await link.stop()

"""Malformed requests sent to a running system, and what became of it and of them."""

import asyncio
import re
import socket
import struct
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import httpx

from tests.system.malformed import Ending, Generator, Malformed, Target
from tests.system.routes import NOBODYS, body_of, operations, security_of
from tests.system.town import Tenant, Town
from tests.waiting import PATIENCE_S

CONNECTIONS: Final = 64
SILENT: Final = 100  # connections that are left open, at most
ANSWER_S: Final = 1.0  # what has no answer by then is left: perhaps there is none to come
EACH: Final = 100  # malformed requests from one healthy one to the next
KEPT: Final = 20  # of what is found, shown
FIRST_BROKEN: Final = 500
STATUS: Final = re.compile(rb"HTTP/1\.1 (\d{3}) [^\r\n]*\r\n")
LENGTH: Final = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)
COUNTED: Final = re.compile(
    r'^tollgate_requests_total\{endpoint="([^"]*)",status="(5\d\d)"\} (\S+)$', re.MULTILINE
)
NO_FAREWELL: Final = struct.pack("ii", 1, 0)  # SO_LINGER
HEALTHY: Final = {"text": "hello"}
OPEN: Final = {"01", "08"}  # ESTABLISHED and CLOSE_WAIT, in /proc/net/tcp


class Storm:
    """Sends malformed requests to an edge, and a healthy one now and then.

    What the edge answered with 500 and more it counts itself: a caller may not wait for it.

    Args:
        url: The edge's.
        generator: Of the requests.
        headers: That open the edge for the healthy ones.
    """

    def __init__(self, url: str, generator: Generator, headers: Mapping[str, str]) -> None:
        self._url = url
        self._port = urlsplit(url).port or 80
        self._generator = generator
        self._headers = headers
        self._silent: list[asyncio.StreamWriter] = []
        self.answered: Counter[int] = Counter()  # by status, as far as callers waited for it
        self.healthy: Counter[int] = Counter()
        self.found: list[str] = []  # answers from 500 on, with what was sent

    async def rage(self, number: int) -> None:
        """Send so many."""
        async with asyncio.TaskGroup() as group:
            left = iter(range(number))
            for _ in range(CONNECTIONS):
                group.create_task(self._send_all(left))

    async def broken(self) -> Counter[str]:
        """How often the edge has answered with 500 and more, by endpoint and status."""
        async with self._client() as client:
            text = (await client.get("/metrics")).text
        return Counter({f"{one[0]} {one[1]}": int(float(one[2])) for one in COUNTED.findall(text)})

    def open(self) -> int:
        """How many connections the edge has."""
        here = f":{self._port:04X}"
        rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        return sum(row[1].endswith(here) and row[3] in OPEN for row in rows)

    def hang_up(self) -> None:
        """Close what has stayed open in silence."""
        for writer in self._silent:
            writer.close()

    def _client(self) -> httpx.AsyncClient:
        headers = dict(self._headers)
        return httpx.AsyncClient(base_url=self._url, headers=headers, timeout=PATIENCE_S)

    async def _send_all(self, left: Iterator[int]) -> None:
        async with self._client() as client:
            for number in left:
                if number % EACH == 0:
                    answer = await client.post("/v1/echo/echo", json=HEALTHY)
                    self.healthy[answer.status_code] += 1
                malformed = self._generator.next()
                with suppress(OSError, TimeoutError):  # it was hung up on
                    await self._send(malformed)

    async def _send(self, malformed: Malformed) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        silent = malformed.ending is Ending.SILENT and len(self._silent) < SILENT
        try:
            for piece in malformed.pieces:
                writer.write(piece)
                async with asyncio.timeout(ANSWER_S):
                    await writer.drain()
            if silent:
                self._silent.append(writer)
                return
            if malformed.ending is Ending.HALF:
                writer.write_eof()
            if malformed.ending in {Ending.READ, Ending.HALF}:
                self._note(malformed, await _answer(reader))
            if malformed.ending is Ending.RESET:
                line = writer.get_extra_info("socket")
                line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_FAREWELL)
        finally:
            if not silent:
                writer.close()

    def _note(self, malformed: Malformed, answer: bytes) -> None:
        for status in map(int, STATUS.findall(answer)):
            self.answered[status] += 1
            if status >= FIRST_BROKEN and len(self.found) < KEPT:
                self.found.append(f"{malformed.pieces!r:.2000} -> {answer!r:.500}")


async def _answer(reader: asyncio.StreamReader) -> bytes:
    """What comes, until an answer is whole, or nothing comes any more."""
    found = b""
    with suppress(TimeoutError, OSError):
        async with asyncio.timeout(ANSWER_S):
            while (some := await reader.read(65_536)) and not _is_whole(found := found + some):
                pass
    return found


def _is_whole(answer: bytes) -> bool:
    head, _, body = answer.partition(b"\r\n\r\n")
    length = LENGTH.search(head + b"\r\n")
    return length is not None and len(body) >= int(length[1])


def memory_of(pid: int) -> int:
    """The resident bytes of a process."""
    pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    return int(pages) * 4_096


async def targets_of(town: Town, caller: Tenant, charge: Tenant) -> Sequence[Target]:
    """Every route with something that it takes; the operator acts on `charge`."""
    async with town.system.client({}) as client:
        document = (await client.get("/openapi.json")).json()
    found: list[Target] = []
    for method, path, operation in operations(document):
        security = security_of(operation)
        operators = "admin_token" in security
        headers = town.system.admin_headers if operators else caller.headers
        values = {**NOBODYS, **(charge if operators else caller).ids}
        found.extend(
            Target(
                method,
                path.format(**{**values, "model": model}),
                body_of(operation, charge),
                headers["Authorization"],
            )
            for model in (("echo", "mute") if "{model}" in path else ("",))
        )
    return found

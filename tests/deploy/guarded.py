"""A broker that runs under deploy/nats/permissions.conf, and people who try things on it."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec
import nats
import pytest
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from deploy.local.nats import Nats
from deploy.local.ports import free_port
from tests.broker import PatientClient
from tests.waiting import PATIENCE_S

FILE: Final = Path(__file__).parents[2] / "deploy" / "nats" / "permissions.conf"
PASSWORDS: Final = frozenset(re.findall(r"\$(NATS_\w+_PASSWORD)", FILE.read_text()))


class Refused(Exception):
    """The broker said no."""


def broker(
    folder: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[str], str] = str
) -> Nats:
    """A broker under the permissions that are shipped, or under others made of them."""
    for password in PASSWORDS:
        monkeypatch.setenv(password, password.lower())
    folder.mkdir()
    permissions = folder / "changed.conf"
    permissions.write_text(change(FILE.read_text()))
    return Nats(folder / "nats", free_port(), permissions=permissions)


def url(server: Nats, user: str) -> str:
    return server.url.replace("//", f"//{user}:nats_{user}_password@")


def violations(server: Nats) -> list[str]:
    """What the broker refused somebody so far, as its log says it."""
    log = (server.home / "server.log").read_text()
    return [line for line in log.splitlines() if "Violation" in line]


class Person:
    """A connection whose owner notices what is refused."""

    def __init__(self) -> None:
        self.client = PatientClient()
        self._refusals: asyncio.Queue[Exception] = asyncio.Queue()

    async def connect(self, url: str, name: str) -> None:
        await self.client.connect(
            url, inbox_prefix=f"_INBOX.{name}", error_cb=self._refusals.put, allow_reconnect=False
        )

    async def says(self, subject: str, data: bytes = b"{}", reply: str = "") -> None:
        await self.client.publish(subject, data, reply=reply)
        await self._settle()

    async def listens(self, subject: str, queue: str = "") -> Subscription:
        subscription = await self.client.subscribe(subject, queue=queue)
        await self._settle()
        return subscription

    async def asks(self, subject: str, question: object = None) -> Msg:
        """The answer to a request, the first one of a stream's."""
        inbox = self.client.new_inbox()
        answers = await self.client.subscribe(inbox)
        body = b"" if question is None else msgspec.json.encode(question)
        await self.says(subject, body, reply=inbox)
        return await answers.next_msg(PATIENCE_S)

    async def _settle(self) -> None:
        """Wait until the broker has judged everything so far."""
        await self.client.flush()
        await self.client.flush()
        with suppress(asyncio.QueueEmpty):
            raise Refused(str(self._refusals.get_nowait()))


@asynccontextmanager
async def person(server: Nats, user: str, name: str = "somebody") -> AsyncIterator[Person]:
    somebody = Person()
    await somebody.connect(url(server, user), name)
    try:
        yield somebody
    finally:
        with suppress(nats.errors.ConnectionClosedError):
            await somebody.client.close()

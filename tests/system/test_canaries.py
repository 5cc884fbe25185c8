"""Secrets, and what callers say, are nowhere but where they belong: canaries are looked for."""

import asyncio
import base64
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import httpx
import nats
import pytest
from msgspec import Struct
from nats.errors import Error as NatsError

from deploy.local.nats import Nats
from deploy.local.ports import free_port
from deploy.local.postgres import BIN, Postgres
from events import streams
from ledger.accounts import create_account
from ledger.api_keys import create_key
from ledger.db import acquire, create_pool
from tests.edge.raw import say
from tests.edge.test_bad_input import signed
from tests.link import Link, linked
from tests.system.system import ECHO_ONLY, System, running
from tests.waiting import until

TEXT: Final = "canary-of-what-a-caller-said"
SECRETS: Final = {
    "TOLLGATE_KEY_SECRET": "canary-key-secret-4b1d",
    "TOLLGATE_ADMIN_TOKEN": "canary-admin-token-77aa",
    "TOLLGATE_STRIPE_WEBHOOK_SECRETS": "whsec_canary_0c9e",
    "TOLLGATE_STRIPE_API_KEY": "sk_test_canary_51f3",
    "TOLLGATE_RECEIPT_KEYS": base64.b64encode(b"canary-of-the-receipts-key-32-by").decode(),
}
DATABASE_PASSWORD: Final = "canary-database-password"
NATS_PASSWORD: Final = "canary-nats-password"
PATH: Final = "/v1/echo/echo"
OURS: Final = ("secrets.json", "environment.json", "ready.json")  # that their owner alone may read


class Watched(Struct, frozen=True, kw_only=True):
    """A system in which canaries were let loose."""

    system: System
    canaries: Mapping[str, bytes]
    key: str
    unknown: str  # a key that no edge has looked up yet
    database: Link
    broker: Link
    home: Path
    nats: Nats
    postgres: Postgres
    database_url: str  # without the password

    async def places(self) -> dict[str, bytes]:
        """All that was written down, by where."""
        found = {"metrics": await self._metrics(), "processes": _command_lines()}
        for file in self.home.rglob("*"):
            if file.is_file() and file.name not in OURS:
                found[f"file {file.name}"] = file.read_bytes()
        for server in (self.nats, self.postgres):
            found[f"log {server.name}"] = (server.home / "server.log").read_bytes()
        found["dump"] = await self._dump()
        found["streams"] = b"\n".join([line async for line in self._messages()])
        return found

    async def _dump(self) -> bytes:
        process = await asyncio.create_subprocess_exec(
            BIN / "pg_dump",
            "--inserts",
            f"--dbname={self.database_url}",
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,  # it warns of TimescaleDB's own tables
        )
        dump, _ = await process.communicate()
        assert process.returncode == 0
        return dump

    async def _metrics(self) -> bytes:
        async with self.system.client() as client:
            return (await client.get("/metrics")).content

    async def _messages(self) -> AsyncIterator[bytes]:
        client = await nats.connect(self.nats.url)
        jetstream = client.jetstream()
        for config in streams.configs(streams.Sizes()):
            name = str(config.name)
            state = (await jetstream.stream_info(name)).state
            for sequence in range(state.first_seq, state.last_seq + 1):
                with suppress(NatsError):  # deleted, or the last word on its subject came later
                    message = await jetstream.get_msg(name, sequence)
                    headers = json.dumps(message.headers or {})
                    yield f"{name} {message.subject} {headers} ".encode() + (message.data or b"")
        await client.close()


def _command_lines() -> bytes:
    lines = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            lines.append(process.read_bytes().replace(b"\0", b" "))
    return b"\n".join(lines)


def sightings(places: Mapping[str, bytes], canaries: Mapping[str, bytes]) -> set[tuple[str, str]]:
    """Which canary was seen where, as it is or as encodings leave it."""
    return {
        (place, name)
        for place, content in places.items()
        for name, canary in canaries.items()
        for shape in _shapes(canary)
        if shape in content
    }


def _shapes(canary: bytes) -> Iterable[bytes]:
    text = canary.decode()
    yield canary
    yield quote(text, safe="").encode()
    yield canary.hex().encode()
    for shift in range(3):  # wherever it begins in what was encoded
        encoded = base64.b64encode(b"\0" * shift + canary)
        yield encoded[4 * bool(shift) : len(encoded) // 4 * 4 - 4]


@asynccontextmanager
async def watched(home: Path, postgres: Postgres, database_url: str) -> AsyncIterator[Watched]:
    home.mkdir(parents=True)
    models = home / "models.toml"
    models.write_text(ECHO_ONLY)
    async with AsyncExitStack() as stack:
        server = stack.enter_context(Nats(home.parent / "nats", free_port()))
        database, linked_database = await stack.enter_async_context(linked(database_url))
        broker, linked_nats = await stack.enter_async_context(linked(server.url))
        environment = {
            **SECRETS,
            "TOLLGATE_DATABASE_URL": linked_database.replace("@", f":{DATABASE_PASSWORD}@"),
            "TOLLGATE_NATS_URL": linked_nats.replace("//", f"//edge:{NATS_PASSWORD}@"),
            "TOLLGATE_STRIPE_API_BASE": f"http://127.0.0.1:{free_port()}",  # nobody is there
            "TOLLGATE_STRIPE_POLL_S": "1",
            "TOLLGATE_MODELS_FILE": str(models),
            "TOLLGATE_RETRY_S": "0.2",
            "TOLLGATE_PUBLISH_TIMEOUT_S": "2",
            "TOLLGATE_FAILURES_S": "0.2",
        }
        system = await stack.enter_async_context(
            running(home, sabotage="break_with_all_in_hand", environment=environment)
        )
        secret = SECRETS["TOLLGATE_KEY_SECRET"].encode()
        async with create_pool(database_url) as pool, acquire(pool) as connection:
            account = await create_account(connection, "tests")
            keys = [(await create_key(connection, account.id, "", secret))[1] for _ in range(2)]
        canaries = {name: value.encode() for name, value in SECRETS.items()}
        canaries |= {
            "the text": TEXT.encode(),
            "the database's password": DATABASE_PASSWORD.encode(),
            "the broker's password": NATS_PASSWORD.encode(),
            "a key": keys[0].encode(),
            "another key": keys[1].encode(),
        }
        yield Watched(
            system=system,
            canaries=canaries,
            key=keys[0],
            unknown=keys[1],
            database=database,
            broker=broker,
            home=home,
            nats=server,
            postgres=postgres,
            database_url=database_url,
        )


async def use(found: Watched) -> set[int]:
    """Everything that can go right or wrong, with a canary in each hand; the statuses."""
    system = found.system
    port = httpx.URL(system.url).port
    assert port is not None
    body = {"text": f"{TEXT} {found.key}"}
    statuses = set()
    async with system.client({"Authorization": f"Bearer {found.key}"}) as client:

        async def post(path: str = PATH, **how: Any) -> int:
            answer = await client.post(path, **({"json": body} | how))
            statuses.add(answer.status_code)
            assert "Traceback" not in answer.text
            assert "RuntimeError" not in answer.text
            return answer.status_code

        await until(lambda: _is(post, 200))
        await post(json={"text": f"a bug, and {TEXT}"})
        await post(json={"txt": TEXT, TEXT: found.key})
        await post(json=None, content=f'{{"text": {TEXT}'.encode())
        await post(f"/v1/{TEXT}/{found.key}")
        await post(f"/v1/echo/{TEXT}?key={found.key}")
        await post(f"/{TEXT}?key={found.key}")
        await post(headers={"Content-Encoding": TEXT})
        await post(headers={"Authorization": f"Bearer {found.key}x"})
        await post(headers={"Authorization": f"{found.key} {TEXT}"})
        for token in (found.key, SECRETS["TOLLGATE_ADMIN_TOKEN"]):
            admin = {"Authorization": f"Bearer {token}"}
            await post("/v1/admin/accounts", json={"name": 1, TEXT: 2}, headers=admin)
        event = json.dumps({"id": "evt_1", "type": "customer.created", "object": "event"}).encode()
        right = signed(event, SECRETS["TOLLGATE_STRIPE_WEBHOOK_SECRETS"])
        for headers in (right, signed(event, TEXT)):
            await post("/webhooks/stripe", json=None, content=event, headers=headers)
        not_http = f"POST /{TEXT} HTTP/1.1\r\nAuthorization: Bearer {found.key}\r\n\0\r\n\r\n"
        statuses.add((await say(port, not_http.encode())).status or 0)

        found.database.cut()
        unknown = {"Authorization": f"Bearer {found.unknown}"}
        await until(lambda: _is(post, 503, headers=unknown))
        found.database.restore()
        found.broker.cut()
        await until(lambda: _is(post, 503))
        found.broker.restore()
        await until(lambda: _is(post, 200, headers=unknown))
    return statuses


async def _is(post: Callable[..., Awaitable[int]], status: int, **how: Any) -> bool:
    return await post(**how) == status


async def test_no_secret_and_no_text_is_written_down_anywhere(
    home: Path, postgres: Postgres, database_url: str
) -> None:
    async with watched(home, postgres, database_url) as found:
        statuses = await use(found)
        await found.system.settled()

        seen = sightings(await found.places(), found.canaries)
        assert statuses >= {200, 202, 400, 401, 404, 415, 422, 500, 503}
        assert not seen

        # control: what is let loose is seen, wherever that is
        admin = {"Authorization": f"Bearer {SECRETS['TOLLGATE_ADMIN_TOKEN']}"}
        async with found.system.client(admin) as client:
            made = await client.post("/v1/admin/accounts", json={"name": f"of {TEXT}"})
            assert made.status_code == 201, made.text
        with (home / "up.log").open("ab") as log:
            log.write(base64.b64encode(b"said: " + found.key.encode()))
        publishing = await nats.connect(found.nats.url)
        await publishing.jetstream().publish("parked.usage", TEXT.encode())
        await publishing.close()
        waiting = [sys.executable, "-c", "input()", NATS_PASSWORD]
        with subprocess.Popen(waiting, stdin=subprocess.PIPE) as process:  # noqa: ASYNC220 - nothing is read of it
            places = await found.places()
            process.kill()
        seen = sightings(places, found.canaries)

    assert {
        ("dump", "the text"),
        ("streams", "the text"),
        ("file up.log", "a key"),
        ("processes", "the broker's password"),
    } <= seen


@pytest.mark.parametrize("wrap", [bytes, lambda said: base64.b64encode(b"x" + said + b"yz")])
def test_a_canary_is_known_in_disguise(wrap: Callable[[bytes], bytes]) -> None:
    canary = {"it": b"canary-in-disguise"}
    content = wrap(canary["it"])

    assert sightings({"here": content, "there": b"nothing"}, canary) == {("here", "it")}

"""An edge on real HTTP, with a broker and a ledger behind it, and workers that misbehave."""

import asyncio
import contextlib
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import httpx
import uvicorn
from msgspec import Struct
from msgspec.structs import replace
from nats.aio.client import Client
from nats.aio.msg import Msg

from consumers.outbox import Relay
from deploy.local.ports import free_port
from edge.app import create_app
from edge.server.configuration import configure
from edge.settings import Settings
from events import broker, inference, models, streams
from events.accounts import Account, ApiKey
from events.ending import end
from events.ids import new_id
from events.inference import WORKERS, Ask, Reply
from events.models import ModelAnnounced, ModelDeclared
from events.usage import Quantities
from ledger.accounts import create_account
from ledger.api_keys import create_key
from ledger.db import Connection, create_pool
from tests.waiting import PATIENCE_S, until

ADMIN_TOKEN = "an-admin-token-for-tests"
KEY_SECRET = "a-key-secret-for-tests"
WEBHOOK_SECRET = "whsec_for_tests"

Handler = Callable[[Msg, Ask], Awaitable[None]]


class Edge(Struct, frozen=True, kw_only=True):
    """A running edge, and an account that may call it."""

    url: str
    port: int
    account: Account
    key: ApiKey
    api_key: str
    nats: Client
    tls: ssl.SSLContext | None = None  # that its callers take, if it is reached so

    def client(self, **headers: str) -> httpx.AsyncClient:
        auth = headers or {"Authorization": f"Bearer {self.api_key}"}
        return httpx.AsyncClient(
            base_url=self.url, headers=auth, timeout=PATIENCE_S, verify=self.tls or True
        )

    async def stranger(self, ledger: Connection) -> str:
        """The Authorization header of somebody else."""
        account = await create_account(ledger, "a stranger")
        _, plain = await create_key(ledger, account.id, "", KEY_SECRET.encode())
        return f"Bearer {plain}"

    async def metered(self) -> int:
        """How many usage events there are."""
        info = await self.nats.jetstream().stream_info(streams.USAGE)
        return int(info.state.messages)

    async def counted(self, said: str) -> int:
        """What the metrics whose lines say this add up to, in all tests of this process."""
        async with self.client() as client:
            lines = (await client.get("/metrics")).text.splitlines()
        return int(sum(float(line.split()[-1]) for line in lines if said in line))

    @asynccontextmanager
    async def counting(self, said: str, more: int = 1) -> AsyncIterator[None]:
        """Returns once the metrics whose lines say this have so many more."""

        async def enough() -> bool:
            return await self.counted(said) >= before + more

        before = await self.counted(said)
        yield
        await until(enough)

    async def serve(
        self,
        handler: Handler,
        *,
        model: str = "rogue",
        task: str = "echo",
        languages: tuple[str, ...] = (),
        translator: str = "",
    ) -> None:
        """Be a worker of `model`, answering with `handler`."""

        async def answer(message: Msg) -> None:
            await handler(message, inference.decode_ask(message.data))

        await self.nats.subscribe(inference.subject(model, task), queue=WORKERS, cb=answer)
        await broker.settle(self.nats)
        await self.announce(model=model, task=task, languages=languages, translator=translator)

    async def announce(
        self,
        *,
        model: str = "rogue",
        task: str = "echo",
        languages: tuple[str, ...] = (),
        translator: str = "",
        hold_s: float = 60,
    ) -> None:
        announced = ModelAnnounced(
            model=ModelDeclared(
                name=model,
                source="test:",
                tasks=(task,),
                languages=languages,
                translator=translator,
            ),
            worker_id=new_id(),
            until=time.time() + hold_s,
        )
        await self.nats.publish(models.subject(announced), models.encode(announced))
        async with self.client() as client:
            async with asyncio.timeout(PATIENCE_S):
                while model not in (await client.get("/v1/models")).text:
                    await asyncio.sleep(0.01)


def answered(result: bytes) -> Reply:
    return inference.Answered(result, Quantities(input_words=1), inference.Timing())


async def reply(message: Msg, answer: Reply) -> None:
    await message.respond(inference.encode(answer))


async def hold(message: Msg, until: asyncio.Event) -> None:
    """Have a request in hand until then, as a worker that says each second that it is alive."""
    while not until.is_set():
        await reply(message, inference.Working())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(inference.HEARTBEAT_S):
                await until.wait()


class Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # they are pytest's


async def _relay(nats: Client, database_url: str) -> None:
    async with create_pool(database_url) as pool:
        await Relay(nats, pool).work(asyncio.Event())


def _trusting(certificate: str) -> ssl.SSLContext | None:
    """What callers take: the certificate of who signed lies beside it."""
    if not certificate:
        return None
    return ssl.create_default_context(cafile=str(Path(certificate).with_name("ca.pem")))


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[int]:
    """An edge in this process, and its port, until the block ends."""
    port = free_port()
    server = Server(configure(create_app(settings), settings, port=port, loop="auto"))
    task = asyncio.create_task(server.serve())
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not server.started and not task.done():
                await asyncio.sleep(0.01)
        yield port
    finally:
        server.should_exit = True
        with contextlib.suppress(asyncio.CancelledError):
            await task


@asynccontextmanager
async def running(
    nats: Client, nats_url: str, database_url: str, ledger: Connection, **settings: object
) -> AsyncIterator[Edge]:
    """An edge, and what relays the ledger's announcements to it, until the block ends."""
    await streams.prepare(nats, streams.Sizes())
    account = await create_account(ledger, "tests")
    key, plain = await create_key(ledger, account.id, "tests", KEY_SECRET.encode())
    defaults = Settings(
        nats_url=nats_url,
        database_url=database_url,
        key_secret=KEY_SECRET,
        admin_token=ADMIN_TOKEN,
        stripe_webhook_secrets=WEBHOOK_SECRET,
        deadline_s=PATIENCE_S,
        retry_s=PATIENCE_S,
        max_wait_s=PATIENCE_S,
        publish_timeout_s=PATIENCE_S,
        failures_s=3_600.0,  # those who count events count answers
    )
    relays = asyncio.create_task(_relay(nats, database_url))
    configured = replace(defaults, **settings)
    try:
        async with serving(configured) as port:
            yield Edge(
                url=f"{'https' if configured.tls_certificate else 'http'}://127.0.0.1:{port}",
                port=port,
                account=account,
                key=key,
                api_key=plain,
                nats=nats,
                tls=_trusting(configured.tls_certificate),
            )
    finally:
        await end([relays])  # or its connections are closed in another test's time

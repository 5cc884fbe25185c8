"""Several edge processes on one broker and one ledger, and a worker that counts."""

import asyncio
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
from msgspec import Struct
from nats.aio.client import Client
from nats.aio.msg import Msg

from deploy.local.ports import free_port
from events import broker, inference, models
from events.ids import milliseconds_of, new_id
from events.inference import WORKERS, Answered, Ask, Timing
from events.models import ModelAnnounced, ModelDeclared
from events.usage import Quantities
from ledger.accounts import create_account
from ledger.api_keys import create_key
from ledger.db import Connection
from tests.broker import PatientClient
from tests.waiting import PATIENCE_S, until

EMPTY: Mapping[str, str] = {}
KEY_SECRET = "a-key-secret-for-tests"
PATH = "/v1/counted/echo"
TASKS = ("echo", "generation")
TOKEN_S = 0.01
STREAM_TOKENS = 1_500  # a quarter of a minute and more


class Customer(Struct, frozen=True):
    """An account, and its key."""

    account_id: UUID
    key_id: str
    headers: dict[str, str]


class Asked(Struct, frozen=True):
    """What reached the worker."""

    account_id: UUID
    minute: int  # since 1970, by the request's id


class CountingWorker:
    """Answers at once, or when it is let, and writes down who asked.

    Its streams have a token each `TOKEN_S` until they are cancelled, or read too slowly.
    """

    def __init__(self) -> None:
        self.asked: Counter[Asked] = Counter()
        self.cancelled: set[UUID] = set()
        self._read: Counter[str] = Counter()
        self.open = asyncio.Event()
        self.open.set()
        self._held: set[asyncio.Task[None]] = set()

    async def start(self, nats_url: str) -> Client:
        self.nats = await broker.connect(nats_url, "counting-worker", client=PatientClient())
        self._inbox = self.nats.new_inbox()
        for task in TASKS:
            await self.nats.subscribe(
                inference.subject("counted", task), queue=WORKERS, cb=self._take
            )
        await self.nats.subscribe(inference.CANCELS, cb=self._cancel)
        await self.nats.subscribe(f"{self._inbox}.*", cb=self._hear)
        await broker.settle(self.nats)
        return self.nats

    async def _take(self, message: Msg) -> None:
        ask = inference.decode_ask(message.data)
        self.asked[Asked(ask.account_id, milliseconds_of(ask.request_id) // 60_000)] += 1
        if self.open.is_set() and not ask.stream:
            await self._answer(message, ask)
        else:  # apart, so that the next one is taken
            answering = self._stream(message, ask) if ask.stream else self._answer(message, ask)
            task = asyncio.create_task(answering)
            self._held.add(task)
            task.add_done_callback(self._held.discard)

    async def _answer(self, message: Msg, ask: Ask) -> None:
        while not self.open.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(inference.HEARTBEAT_S):
                    await self.open.wait()
                    break
            with suppress(Exception):  # as below
                await message.respond(inference.encode(inference.Working()))
        answer = Answered(ask.input, Quantities(input_words=3), Timing())
        with suppress(Exception):  # the broker is away: the edge will have noticed
            await message.respond(inference.encode(answer))

    async def _stream(self, message: Msg, ask: Ask) -> None:
        reply_to = f"{self._inbox}.{ask.request_id}"
        index = 0
        while ask.request_id not in self.cancelled and index < STREAM_TOKENS:
            if index < self._read[reply_to] + inference.WINDOW:
                so_far = Quantities(input_words=3, output_tokens=index + 1)
                chunk = inference.Chunk(index, b'{"text":"more "}', so_far)
                with suppress(Exception):
                    await self.nats.publish(message.reply, inference.encode(chunk), reply=reply_to)
                index += 1
            await asyncio.sleep(TOKEN_S)
        reason: Any = "length" if index == STREAM_TOKENS else "cancelled"
        total = Quantities(input_words=3, output_tokens=index)
        with suppress(Exception):
            await message.respond(inference.encode(inference.Ended(reason, index, total, Timing())))

    async def _cancel(self, message: Msg) -> None:
        self.cancelled.add(inference.cancelled(message.subject))

    async def _hear(self, message: Msg) -> None:
        self._read[message.subject] = inference.decode_read(message.data)

    def by_account(self) -> Counter[UUID]:
        counts: Counter[UUID] = Counter()
        for asked, times in self.asked.items():
            counts[asked.account_id] += times
        return counts


class EdgeProcess:
    """One edge, which may be killed and started again on its port."""

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._environment = environment
        self._log = log
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "deploy.cli",
                "edge",
                f"--port={self.port}",
                stdout=log,
                stderr=log,
                env={**os.environ, **self._environment},
            )

    async def ready(self) -> None:
        async def answers() -> bool:
            assert self._process is not None
            assert self._process.returncode is None, self._log.read_text()[-4_000:]
            async with httpx.AsyncClient(timeout=PATIENCE_S) as client:
                try:
                    return "counted" in (await client.get(f"{self.url}/v1/models")).text
                except httpx.TransportError:
                    return False

        await until(answers)

    async def kill(self) -> None:
        await self._end(signal.SIGKILL)

    async def stop(self) -> None:
        await self._end(signal.SIGTERM)

    async def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        with suppress(ProcessLookupError):
            self._process.send_signal(number)
        await asyncio.wait_for(self._process.wait(), PATIENCE_S)
        self._process = None


class Fleet(Struct):
    """Edges, and what is behind them."""

    edges: Sequence[EdgeProcess]
    worker: CountingWorker
    ledger: Connection

    async def customers(self, number: int, plan: str) -> Sequence[Customer]:
        return [await self.customer(plan) for _ in range(number)]

    async def customer(self, plan: str) -> Customer:
        account = await create_account(self.ledger, "tests", plan=plan)
        key, plain = await create_key(self.ledger, account.id, "", KEY_SECRET.encode())
        return Customer(account.id, key.id, {"Authorization": f"Bearer {plain}"})


@asynccontextmanager
async def fleet(
    edges: int,
    *,
    nats_url: str,
    database_url: str,
    ledger: Connection,
    plans: Path,
    environment: Mapping[str, str] = EMPTY,
) -> AsyncIterator[Fleet]:
    """Edges until the block ends; `environment` is more of theirs."""
    environment = {
        "TOLLGATE_NATS_URL": nats_url,
        "TOLLGATE_DATABASE_URL": database_url,
        "TOLLGATE_KEY_SECRET": KEY_SECRET,
        "TOLLGATE_ADMIN_TOKEN": "an-admin-token-for-tests",
        "TOLLGATE_PLANS_FILE": str(plans),
        "TOLLGATE_DEADLINE_S": "5",
        "TOLLGATE_PUBLISH_TIMEOUT_S": "2",
        "TOLLGATE_DRAIN_S": "5",
        "TOLLGATE_FAILURES_S": "3600",
        **environment,
    }
    worker = CountingWorker()
    async with AsyncExitStack() as stack:
        nats = await worker.start(nats_url)
        stack.push_async_callback(nats.close)
        announced = ModelAnnounced(
            model=ModelDeclared(name="counted", source="test:", tasks=TASKS),
            worker_id=new_id(),
            until=time.time() + 3_600,
        )
        await nats.jetstream().publish(models.subject(announced), models.encode(announced))
        started = [
            EdgeProcess(environment, plans.parent / f"edge-{number}.log") for number in range(edges)
        ]
        for edge in started:
            await edge.start()
            stack.push_async_callback(edge.stop)
        for edge in started:
            await edge.ready()
        yield Fleet(started, worker, ledger)

"""Carries signed events to webhook endpoints: as badly as the test wants it."""

import asyncio
import contextlib
import hashlib
import hmac
import time
from collections.abc import Iterator
from random import Random

import httpx
from msgspec import Struct

from tests.stripe.account import Account
from tests.stripe.journal import Event, matches
from tests.stripe.routes import Json

POST_S = 30.0
RETRIES_S = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)  # Stripe's are hours, for three days
ATTEMPTS = 50
AT_ONCE = 8


class Manner(Struct, kw_only=True):
    """How events are delivered."""

    held: bool = False  # nothing leaves until it is released
    shuffle: bool = False  # of what waits together
    duplicates: int = 0  # of each, up to so many
    drop: float = 0.0  # the share that never arrives
    delay_s: float = 0.0  # of each, up to so long


class Delivery(Struct):
    """An event on its way to an endpoint."""

    endpoint: Json
    event: Event


class Courier:
    """Delivers what an account's journal says, in a task of its own."""

    def __init__(self, account: Account, manner: Manner | None = None) -> None:
        self.manner = manner or Manner()
        self.dropped: list[Event] = []
        self.delivered = 0
        self._account = account
        self._random = Random(account.random.random())
        self._waiting: list[Delivery] = []
        self._in_hand = 0
        self._wake = asyncio.Event()
        account.journal.listeners.append(self.take)

    def take(self, event: Event) -> None:
        """Take an event in, for each endpoint that wants it; again, if it was before."""
        for endpoint in self._account.objects.get("webhook_endpoint", {}).values():
            wanted = any(matches(event.type, one) for one in endpoint["enabled_events"])
            if wanted and endpoint["status"] == "enabled":
                self._waiting.append(Delivery(endpoint, event))
        self._wake.set()

    def change(self, manner: Manner) -> None:
        self.manner = manner
        self._wake.set()

    @property
    def idle(self) -> bool:
        """Whether nothing is on its way, nor about to be."""
        return not self._in_hand and (self.manner.held or not self._waiting)

    async def work(self) -> None:
        room = asyncio.Semaphore(AT_ONCE)
        limits = httpx.Limits(max_connections=AT_ONCE)
        async with (
            httpx.AsyncClient(timeout=POST_S, limits=limits) as client,
            asyncio.TaskGroup() as tasks,
        ):
            while True:
                await self._wake.wait()
                self._wake.clear()
                for delivery in self._plan():
                    self._in_hand += 1
                    tasks.create_task(self._carry(client, room, delivery, self._delay_s()))

    def _plan(self) -> Iterator[Delivery]:
        if self.manner.held:
            return
        waiting, self._waiting = self._waiting, []
        plan: list[Delivery] = []
        for delivery in waiting:
            if self._random.random() < self.manner.drop:
                self.dropped.append(delivery.event)
            else:
                plan += [delivery] * (1 + self._random.randint(0, self.manner.duplicates))
        if self.manner.shuffle:
            self._random.shuffle(plan)
        yield from plan

    def _delay_s(self) -> float:
        return self._random.uniform(0, self.manner.delay_s)

    async def _carry(
        self, client: httpx.AsyncClient, room: asyncio.Semaphore, delivery: Delivery, delay_s: float
    ) -> None:
        try:
            if delay_s:
                await asyncio.sleep(delay_s)
            for attempt in range(ATTEMPTS):
                async with room:
                    if await _post(client, delivery):
                        self.delivered += 1
                        return
                await asyncio.sleep(RETRIES_S[min(attempt, len(RETRIES_S) - 1)])
        finally:
            self._in_hand -= 1


async def _post(client: httpx.AsyncClient, delivery: Delivery) -> bool:
    body, secret = delivery.event.body, delivery.endpoint["secret"]
    headers = {"content-type": "application/json", "stripe-signature": signed(body, secret)}
    with contextlib.suppress(httpx.HTTPError):
        answer = await client.post(delivery.endpoint["url"], content=body, headers=headers)
        return answer.is_success
    return False


def signed(body: bytes, secret: str, at: int | None = None) -> str:
    """The ``Stripe-Signature`` header; of the wall's time, whatever the account's is."""
    at = int(time.time()) if at is None else at
    digest = hmac.digest(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hex()
    return f"t={at},v1={digest}"

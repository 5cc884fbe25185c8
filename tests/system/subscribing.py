"""Four edges and the consumers, and customers of Stripe's whose webhooks reach the first edge."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from uuid import uuid4

import httpx
from msgspec import Struct
from nats.aio.client import Client

from events import streams
from ledger.db import Connection
from tests.edge.running import WEBHOOK_SECRET
from tests.edge.test_bad_input import signed
from tests.ledger.stripe_history import a_customer, a_subscription, an_event
from tests.system.fleet import PATH, Customer, EdgeProcess, Fleet, fleet
from tests.waiting import PATIENCE_S

EDGES = 4
PLANS = """
[[plan]]
name = "default"

[[plan.policy]]
name = "day"
unit = "requests"
limit = 0
window = "day"

[[plan]]
name = "pro"
lookup_keys = ["pro_monthly"]
"""  # nobody is answered without a subscription
BODY = {"text": "one two three"}

_seconds = count(int(time.time()))  # none twice: what came later is no question here


class Subscriber(Struct, frozen=True):
    """An account, and the customer that it is at Stripe."""

    customer: Customer
    id: str

    def signs_up(self) -> bytes:
        """The event of a customer that names its account."""
        metadata = {"tollgate_account": str(self.customer.account_id)}
        return an_event(a_customer(self.id, metadata=metadata), created=next(_seconds))

    def subscription_is(self, status: str) -> bytes:
        """The event of its one subscription in another status."""
        return an_event(
            a_subscription("pro_monthly", customer=self.id, status=status, id=f"sub_{self.id}"),
            created=next(_seconds),
        )


class Subscribing(Struct, frozen=True):
    """What runs."""

    fleet: Fleet
    http: httpx.AsyncClient

    async def subscriber(self) -> Subscriber:
        customer = await self.fleet.customer("default")
        subscriber = Subscriber(customer, f"cus_{uuid4().hex[:14]}")
        await self.deliver(subscriber.signs_up())
        return subscriber

    async def deliver(self, body: bytes) -> None:
        """Post it as Stripe does, and see that it was taken."""
        url = f"{self.fleet.edges[0].url}/webhooks/stripe"
        answer = await self.http.post(url, content=body, headers=signed(body))
        assert answer.status_code == 202, answer.text

    async def answers(self, edge: EdgeProcess, subscriber: Subscriber) -> int:
        """The status that an edge answers with."""
        headers = subscriber.customer.headers
        return (await self.http.post(edge.url + PATH, json=BODY, headers=headers)).status_code


@asynccontextmanager
async def subscribing(
    nats: Client, nats_url: str, database_url: str, ledger: Connection, folder: Path
) -> AsyncIterator[Subscribing]:
    """Run them until the block ends."""
    await streams.prepare(nats, streams.Sizes())
    plans = folder / "plans.toml"
    plans.write_text(PLANS)
    async with (
        consuming(nats_url, database_url, plans),
        fleet(
            EDGES,
            nats_url=nats_url,
            database_url=database_url,
            ledger=ledger,
            plans=plans,
            environment={"TOLLGATE_STRIPE_WEBHOOK_SECRETS": WEBHOOK_SECRET},
        ) as started,
        httpx.AsyncClient(timeout=PATIENCE_S) as http,
    ):
        yield Subscribing(started, http)


@asynccontextmanager
async def consuming(nats_url: str, database_url: str, plans: Path) -> AsyncIterator[None]:
    """The consumers, as a process of their own."""
    with (plans.parent / "consumers.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "deploy.cli",
            "consume",
            stdout=log,
            stderr=log,
            env={
                **os.environ,
                "TOLLGATE_NATS_URL": nats_url,
                "TOLLGATE_DATABASE_URL": database_url,
                "TOLLGATE_PLANS_FILE": str(plans),
                "TOLLGATE_STRIPE_WORKERS": "2",
            },
        )
    try:
        yield
    finally:
        process.terminate()
        await asyncio.wait_for(process.wait(), PATIENCE_S)

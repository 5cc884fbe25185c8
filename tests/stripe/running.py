"""The stand-in on HTTP, inside the test's own loop."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn

from deploy.local.ports import free_port
from ledger.stripe.api import StripeApi
from tests.edge.running import Server
from tests.stripe.account import Account
from tests.stripe.app import KEY, App
from tests.stripe.clock import Clock
from tests.stripe.control import Control
from tests.stripe.courier import Manner
from tests.stripe.webhooks import add
from tests.waiting import PATIENCE_S, until


class StandIn:
    """A running one, and what a test does with it.

    `account` is Stripe itself: `account.post("/v1/customers", ...)` needs no HTTP.
    """

    def __init__(self, app: App, url: str) -> None:
        self.app = app
        self.url = url

    @property
    def account(self) -> Account:
        return self.app.account

    @property
    def control(self) -> Control:
        return self.app.control

    def api(self, *, key: str = KEY, per_second: float = 10_000.0) -> StripeApi:
        """Our client of it; to be closed."""
        return StripeApi(key, self.url, per_second=per_second)

    def requests(self, method: str, path: str) -> int:
        """How many came, failed ones included."""
        return self.app.requests.count((method, path))

    async def delivered(self) -> None:
        """Wait until nothing is on its way to webhook endpoints."""
        await until(lambda: self.app.courier.idle)


@asynccontextmanager
async def standing_in(
    webhook: str = "",
    *,
    secret: str = "",
    clock: Clock | None = None,
    seed: int | None = None,
    **manner: Any,
) -> AsyncIterator[StandIn]:
    """Run one until the block ends.

    Args:
        webhook: Where events are sent to; empty: nowhere.
        secret: With which they are signed.
        clock: The account's.
        seed: Of ids and of the courier's moods.
        manner: Of deliveries, as `Manner` has it.
    """
    app = App(Account(clock, seed=seed))
    app.courier.manner = Manner(**manner)
    if webhook:
        add(app.account, webhook, secret=secret or None)
    server, serving = serve(app, port := free_port())
    delivering = asyncio.create_task(app.courier.work())
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not server.started and not serving.done():
                await asyncio.sleep(0.01)
        yield StandIn(app, f"http://127.0.0.1:{port}")
    finally:
        delivering.cancel()
        server.should_exit = True
        server.force_exit = True  # who hangs is not waited for
        await asyncio.wait([delivering, serving])


def serve(app: App, port: int) -> tuple[uvicorn.Server, asyncio.Task[None]]:
    """Begin to listen, on the port of HTTP's usual protocol."""
    config = uvicorn.Config(app, port=port, lifespan="off", ws="none", log_config=None)
    server = Server(config)
    return server, asyncio.create_task(server.serve())

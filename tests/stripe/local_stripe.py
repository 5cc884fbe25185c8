"""localstripe, the second opinion: somebody else's stand-in, in a process of its own (GPL)."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from consumers.stripe.lists import Listed
from deploy.local.ports import free_port
from ledger.stripe.api import Json, StripeApi
from tests.waiting import PATIENCE_S, until

KEY = "sk_test_localstripe"
COVERED = (
    Listed("customer", "/v1/customers"),
    Listed("product", "/v1/products"),
    Listed("subscription", "/v1/subscriptions", {"status": "all"}),
    Listed("invoice", "/v1/invoices"),
)


@asynccontextmanager
async def local_stripe(webhook: str, secret: str) -> AsyncIterator[str]:
    """The URL of a running one that tells a webhook of its events, a second after each."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "localstripe", "--port", str(port), "--from-scratch"),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        async with httpx.AsyncClient(base_url=url, timeout=PATIENCE_S) as client:

            async def answers() -> bool:
                with contextlib.suppress(httpx.TransportError):
                    told = {"url": webhook, "secret": secret}
                    return (await client.post("/_config/webhooks/w", json=told)).is_success
                return False

            await until(answers)
        yield url
    finally:
        process.terminate()
        await process.wait()


async def a_history(api: StripeApi) -> None:
    """Customers who come, subscribe, change and go."""
    number = 0

    async def post(path: str, **params: Any) -> Json:
        nonlocal number
        number += 1
        return await api.post(path, idempotency_key=f"history-{number}", **params)

    product = await post("/v1/products", name="Pro", type="service")
    for plan, amount in ("basic", 100), ("pro", 200):
        await post(
            "/v1/plans", id=plan, product=product["id"], amount=amount, currency="eur",
            interval="month", nickname=plan,
        )  # fmt: skip
    for turn in range(12):
        customer = (await post("/v1/customers", email=f"{turn}@example.com"))["id"]
        source = {"number": "4242424242424242", "exp_month": 12, "exp_year": 2040, "cvc": "123"}
        await post(f"/v1/customers/{customer}/sources", source={"object": "card", **source})
        subscription = await post("/v1/subscriptions", customer=customer, items=[{"plan": "basic"}])
        item = subscription["items"]["data"][0]["id"]
        await post(f"/v1/customers/{customer}", description=f"turn {turn}")
        path = f"/v1/subscriptions/{subscription['id']}"
        if turn % 4 == 1:
            await post(path, items=[{"id": item, "plan": "pro"}])  # which no event tells of
        if turn % 4 == 2:
            await api.delete(path)
        if turn % 4 == 3:
            await api.delete(path)
            await api.delete(f"/v1/customers/{customer}")


async def at(api: StripeApi) -> dict[str, Json]:
    """All that its API lists, by id."""
    return {
        one["id"]: one
        for listed in COVERED
        async for one in api.pages(listed.path, **listed.params)
    }

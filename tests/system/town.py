"""Two tenants of one system, each with one of everything, and what tells that it is theirs."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from msgspec import Struct

from edge.settings import Settings
from tests.demo.shop import SECRET, open_shop
from tests.edge.running import serving
from tests.stripe.app import KEY
from tests.stripe.running import StandIn
from tests.system.mute import mute_worker
from tests.system.system import System
from tests.waiting import PATIENCE_S, until

PLANS = """
[[plan]]
name = "default"

[[plan.policy]]
name = "minute"
unit = "requests"
limit = 1_000_000
window = "minute"

[[plan]]
name = "pro"
lookup_keys = ["pro_monthly"]
"""
# notes of ours about a row, and no part of what a tenant has
VOLATILE = ("last_used_at",)
TABLES = """
SELECT table_name FROM information_schema.columns
JOIN information_schema.tables USING (table_schema, table_name)
WHERE table_schema = 'public' AND column_name = 'account_id' AND table_type = 'BASE TABLE'
ORDER BY 1
"""
ROWS = "SELECT (to_jsonb({table}) - $2::text[])::text FROM {table} WHERE {column} = $1::uuid"


class Tenant(Struct, frozen=True, kw_only=True):
    """An account, its credentials, and everything that was made for it."""

    account_id: str
    headers: Mapping[str, str]
    revoked: Mapping[str, str]  # credentials that were once its own
    ids: Mapping[str, str]  # by the parameter that they are given in
    customer: str  # Stripe's
    asked: httpx.Request  # under an Idempotency-Key
    answered: httpx.Response
    told: frozenset[str]  # all that only this tenant may be told

    def told_by(self, answer: str, asked: str) -> list[str]:
        """What of it an answer tells that was not in what was asked."""
        return sorted(word for word in self.told if word in answer and word not in asked)


class Town(Struct, frozen=True):
    """The system that tenants share, with a Stripe behind it."""

    system: System
    stripe: StandIn

    async def tenant(self, name: str) -> Tenant:
        """Somebody new, who has used everything that there is."""
        name = f"{name}-{secrets.token_hex(8)}"
        async with self._client(self.system.admin_headers) as operator:
            account = _made(await operator.post("/v1/admin/accounts", json={"name": name}))
            path = f"/v1/admin/accounts/{account['id']}"
            key = _made(await operator.post(f"{path}/keys", json={"name": f"key of {name}"}))
            gone = _made(await operator.post(f"{path}/keys", json={"name": f"lost by {name}"}))
            _made(await operator.delete(f"/v1/admin/keys/{gone['key']['id']}"))
            gift = {"amount": "12.50", "reason": f"gift to {name}"}
            credit = _made(await operator.post(f"{path}/credits", json=gift))
            hook = {"url": f"https://{name}.example/hook"}
            webhook = _made(await operator.put(f"{path}/webhook", json=hook))
        headers = _bearer(key["api_key"])
        customer = await self._customer(account["id"])
        async with self._client(headers) as client:
            urls = {f"{it}_url": f"https://{name}.example/{it}" for it in ("success", "cancel")}
            asked = {"plan": "pro", **urls}
            page = _made(await client.post("/v1/billing/checkout", json=asked))
            back = {"return_url": f"https://{name}.example/back"}
            portal = _made(await client.post("/v1/billing/portal", json=back))
            subscription = _made(
                await client.post("/v1/billing/subscription", json={"plan": "pro"})
            )
            _made(await client.put("/v1/budget", json={"monthly": "77.01"}))
            answered = await client.post(
                "/v1/echo/echo",
                json={"text": f"secret of {name}"},
                headers={"Idempotency-Key": f"by {name}"},
            )
            request_id = answered.headers["x-request-id"]
            path = f"/v1/usage/requests/{request_id}"
            await until(lambda: _is_there(client, path))
            later = {"text": f"job of {name}"}
            job = _made(await client.post("/v1/async/echo/echo", json=later))["url"]
            await until(lambda: _is_there(client, job))
        ids = {
            "account": account["id"],
            "account_id": account["id"],
            "key": key["key"]["id"],
            "key_id": key["key"]["id"],
            "request_id": request_id,
            "job_id": job.rpartition("/")[2],
            "after": job.rpartition("/")[2],
        }
        told = {name, credit["id"], webhook["secret"], customer, subscription["id"]}
        told |= {page["url"], portal["url"], key["api_key"], gone["key"]["id"], *ids.values()}
        return Tenant(
            account_id=account["id"],
            headers=headers,
            revoked=_bearer(gone["api_key"]),
            ids=ids,
            customer=customer,
            asked=answered.request,
            answered=answered,
            told=frozenset(told),
        )

    async def state_of(self, tenant: Tenant) -> dict[str, Any]:
        """Everything that there is of a tenant, in the ledger and at Stripe."""
        ledger = await self.system.database()
        try:
            tables = [(row["table_name"], "account_id") for row in await ledger.fetch(TABLES)]
            found: dict[str, Any] = {}
            for table, column in [*tables, ("accounts", "id")]:
                query = ROWS.format(table=table, column=column)
                rows = await ledger.fetch(query, tenant.account_id, VOLATILE)
                found[table] = sorted(row[0] for row in rows)
        finally:
            await ledger.close()
        subscriptions = self.stripe.account.get("/v1/subscriptions", customer=tenant.customer)
        customer = self.stripe.account.get(f"/v1/customers/{tenant.customer}")
        return {**found, "subscriptions": subscriptions["data"], "customer": customer}

    def settings(self, **others: Any) -> Settings:
        """Those of one more edge of this system's."""
        system = self.system
        return Settings(
            **{
                "nats_url": system.nats_url,
                "database_url": system.database_url,
                "key_secret": system.secret("key_secret"),
                "admin_token": system.admin_token,
                "stripe_webhook_secrets": SECRET,
                "stripe_api_key": KEY,
                "stripe_api_base": self.stripe.url,
                "models_file": str(system.home / "models.toml"),
                "plans_file": str(system.home / "shop.toml"),
                "deadline_s": PATIENCE_S,
                "publish_timeout_s": PATIENCE_S,
                **others,
            }
        )

    @asynccontextmanager
    async def another_edge(self, **settings: Any) -> AsyncIterator[str]:
        """One more edge in this process, which a test may have broken, and its URL."""
        async with serving(self.settings(**settings)) as port:
            url = f"http://127.0.0.1:{port}"
            async with httpx.AsyncClient(base_url=url, timeout=PATIENCE_S) as client:
                await until(lambda: _knows_all(client))
            yield url

    def _client(self, headers: Mapping[str, str]) -> httpx.AsyncClient:
        return self.system.client(dict(headers))

    async def _customer(self, account_id: str) -> str:
        """The account's customer of Stripe's, whom the consumers make."""
        ledger = await self.system.database()
        query = "SELECT stripe_customer FROM accounts WHERE id = $1::uuid"
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not (customer := await ledger.fetchval(query, account_id)):
                    await asyncio.sleep(0.02)
        finally:
            await ledger.close()
        return str(customer)


@asynccontextmanager
async def a_town(home: Path) -> AsyncIterator[Town]:
    """A system with the echo model and a mute one for all other tasks, until the block ends."""
    async with open_shop(home, PLANS) as (system, stripe), mute_worker(system.nats_url):
        async with system.client() as client:
            await until(lambda: _knows_all(client))
        yield Town(system, stripe)


async def _knows_all(client: httpx.AsyncClient) -> bool:
    models = (await client.get("/v1/models")).json()["data"]
    return {model["id"] for model in models if model["running"]} == {"echo", "mute"}


async def _is_there(client: httpx.AsyncClient, path: str) -> bool:
    return (await client.get(path)).status_code == 200


def _made(answer: httpx.Response) -> Any:
    assert answer.is_success, (str(answer.request.url), answer.text)
    return answer.json()


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}

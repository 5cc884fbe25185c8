"""Where examples are run: beside a stand-in of Stripe's those that ask Stripe, the others not."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import httpx

from edge.endpoint import Endpoint, Service, declared
from edge.errors import BillingNotConfigured
from tests.stripe.running import StandIn

ENDPOINTS: Final[Mapping[str, Endpoint]] = {
    endpoint.name: endpoint for endpoint in declared(list(Service))
}
PLANS: Final = """
[[plan]]
name = "default"
description = "What everybody has."
concurrency = 64

[[plan.policy]]
name = "minute"
unit = "requests"
limit = 6_000
window = "minute"

[[plan]]
name = "pro"
lookup_keys = ["pro_monthly"]
"""


def asks_stripe(endpoint: Endpoint) -> bool:
    """Whether its example does, or the one that has to be sent before it."""
    after = endpoint.example.after if endpoint.example else ""
    asked = [endpoint, *([ENDPOINTS[after]] if after else [])]
    return any(BillingNotConfigured in one.raises for one in asked)


async def answerable(client: httpx.AsyncClient) -> Sequence[str]:
    """The endpoints that have somebody to answer: those that ask no model, or one that is there."""
    models = (await client.get("/v1/models")).json()["data"]
    tasks = {task for model in models for task in model["tasks"]}
    return [name for name, one in ENDPOINTS.items() if one.asks is None or one.asks.name in tasks]


def stock(stripe: StandIn) -> Mapping[str, str]:
    """Have something for sale, and a customer; what readers put into examples of their own."""
    product = stripe.account.post("/v1/products", name="The API")
    stripe.account.post(
        "/v1/prices",
        product=product["id"],
        currency="usd",
        unit_amount=4_900,
        lookup_key="pro_monthly",
        recurring={"interval": "month"},
    )
    customer = stripe.account.post("/v1/customers", email="ada@example.com")
    return {"CUSTOMER_ID": customer["id"]}


def leave_environment(folder: Path, environment: Mapping[str, str]) -> None:
    """What a `tollgate up` that runs there leaves for commands, and for readers."""
    home = folder / ".tollgate"
    home.mkdir(parents=True)
    (home / "environment.json").write_text(json.dumps(environment))

"""What the story needs: a Tollgate that runs, a Stripe beside it, and something to sell."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from tests.stripe.app import KEY
from tests.stripe.clock import Clock
from tests.stripe.running import StandIn, standing_in
from tests.stripe.webhooks import add
from tests.system.system import ECHO_ONLY, System, running

SECRET: Final = "whsec_of_the_demo"
BEFORE_S: Final = 3 * 3_600  # Stripe's clock begins earlier, so that an hour of usage is over
PLANS: Final = """
[[plan]]
name = "default"
description = "Three requests a day, to try it."

[[plan.policy]]
name = "day"
unit = "requests"
limit = 3
window = "day"

[[plan]]
name = "pro"
description = "49 dollars a month, and a cent for a hundred words of embeddings."
lookup_keys = ["pro_monthly", "pro_words"]

[[plan.policy]]
name = "minute"
unit = "requests"
limit = 600
window = "minute"

[[meter]]
event_name = "words"
unit = "input_words"
only = ["embeddings"]
"""


@asynccontextmanager
async def open_shop(home: Path, plans: str = PLANS) -> AsyncIterator[tuple[System, StandIn]]:
    """Start both, and have each know the other; `pro_monthly` and `pro_words` have a price."""
    home.mkdir(parents=True)
    (home / "models.toml").write_text(ECHO_ONLY)
    (home / "shop.toml").write_text(plans)
    async with standing_in(clock=Clock(int(time.time()) - BEFORE_S)) as stripe:
        _stock(stripe)
        environment = {
            "TOLLGATE_MODELS_FILE": str(home / "models.toml"),
            "TOLLGATE_PLANS_FILE": str(home / "shop.toml"),
            "TOLLGATE_STRIPE_API_KEY": KEY,
            "TOLLGATE_STRIPE_API_BASE": stripe.url,
            "TOLLGATE_STRIPE_WEBHOOK_SECRETS": SECRET,
            "TOLLGATE_STRIPE_METER_S": "1",
        }
        async with running(home, environment=environment) as system:
            add(stripe.account, f"{system.url}/webhooks/stripe", secret=SECRET)
            yield system, stripe


def _stock(stripe: StandIn) -> None:
    account = stripe.account
    meter = account.post(
        "/v1/billing/meters",
        display_name="Words",
        event_name="words",
        default_aggregation={"formula": "sum"},
    )
    product = account.post("/v1/products", name="The API")["id"]
    account.post(
        "/v1/prices",
        product=product,
        currency="usd",
        unit_amount=4_900,
        lookup_key="pro_monthly",
        nickname="Pro",
        recurring={"interval": "month"},
    )
    account.post(
        "/v1/prices",
        product=product,
        currency="usd",
        unit_amount_decimal="0.01",
        lookup_key="pro_words",
        nickname="Words",
        recurring={"interval": "month", "usage_type": "metered", "meter": meter["id"]},
    )

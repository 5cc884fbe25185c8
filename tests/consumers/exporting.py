"""Usage that Stripe is told of, in the test's loop or by a process that is killed at a step."""

import asyncio
import random
import sys
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID

from consumers.stripe.metering import Clock, Exported, export, utc_now
from events.meters import Meter, Meters
from ledger.accounts import create_account
from ledger.db import Connection, create_pool
from ledger.usage import fold_usage
from ledger.verification import HOUR, full_hour
from tests.consumers.pipeline import kill
from tests.ledger.editions.history import id_at
from tests.stripe.app import KEY
from tests.stripe.running import StandIn
from tests.usage import a_usage, recorded

WORDS = Meter(event_name="words", unit="output_words")
STEPS = ("freeze", "claim", "post", "settle")
PROCESS = """
import asyncio, sys
from unittest import mock
from consumers.stripe import metering
from events.meters import Meter
from ledger.db import create_pool
from ledger.stripe.api import StripeApi

database_url, stripe_url, key, step = sys.argv[1:]
where = StripeApi if step == "post" else metering.ledger_meters
original = getattr(where, step)

async def and_wait(*args, **kwargs):
    result = await original(*args, **kwargs)
    print("reached", flush=True)
    await asyncio.sleep(600)

async def run():
    async with create_pool(database_url) as pool:
        with mock.patch.object(where, step, and_wait):
            stripe = StripeApi(key, stripe_url, per_second=10_000)
            words = Meter(event_name="words", unit="output_words")
            await metering.export(pool, stripe, [words], asyncio.Event())

asyncio.run(run())
"""


class Books:
    """The ledger's side and Stripe's of what customers have used."""

    def __init__(self, ledger: Connection, database_url: str, stripe: StandIn) -> None:
        self.ledger = ledger
        self.database_url = database_url
        self.stripe = stripe
        self.hour = full_hour(datetime.now(UTC)) - 3 * HOUR  # closed, and no test lasts hours
        self.meters: Meters = [WORDS]
        self._chosen = random.Random(1)

    def a_meter(self, event_name: str = "words", formula: str = "sum") -> str:
        """One of Stripe's."""
        made = self.stripe.account.post(
            "/v1/billing/meters",
            display_name=event_name,
            event_name=event_name,
            default_aggregation={"formula": formula},
        )
        return str(made["id"])

    async def a_customer(self) -> UUID:
        """An account that is one."""
        made = self.stripe.account.post("/v1/customers", name="Ada")
        account = await create_account(self.ledger, "Ada")
        linking = "UPDATE accounts SET stripe_customer = $2 WHERE id = $1"
        await self.ledger.execute(linking, account.id, made["id"])
        return account.id

    async def use(self, account_id: UUID, words: int, *, hours_before: int = 0) -> None:
        request_id = id_at(self.hour - hours_before * HOUR, self._chosen)
        fact = a_usage(account_id, request_id=request_id, output_words=words)
        await fold_usage(self.ledger, [recorded(fact)])

    async def export(self, *, clock: Clock = utc_now) -> Exported | None:
        """One pass."""
        stripe = self.stripe.api()
        try:
            async with create_pool(self.database_url) as pool:
                return await export(pool, stripe, self.meters, asyncio.Event(), clock)
        finally:
            await stripe.close()

    async def export_killed(self, step: str) -> None:
        """One pass of a process that is killed after the first time it does something."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-c", PROCESS, self.database_url, self.stripe.url, KEY, step),
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout
        assert await process.stdout.readline() == b"reached\n"
        await kill(process)

    async def used(self) -> Counter[tuple[str, datetime]]:
        """Words by customer and hour, as the ledger has them."""
        rows = await self.ledger.fetch(
            """SELECT stripe_customer, hour, sum(output_words)::bigint AS words
            FROM usage_totals JOIN accounts ON id = account_id GROUP BY 1, 2"""
        )
        return Counter({(row[0], row[1]): row["words"] for row in rows if row["words"]})

    def told(self) -> Counter[tuple[str, datetime]]:
        """The same, as Stripe has them."""
        words: Counter[tuple[str, datetime]] = Counter()
        for event in self.stripe.account.meter_events.get("words", []):
            hour = full_hour(datetime.fromtimestamp(event["timestamp"], UTC))
            words[event["payload"]["stripe_customer_id"], hour] += int(event["payload"]["value"])
        return words

    async def check(self) -> None:
        """See that the books balance, hour by hour."""
        told, used = self.told(), await self.used()
        assert told == used, "Stripe's total is not the ledger's"

    async def events(self) -> Sequence[tuple[int, int, str]]:
        """Number, amount and fate of all that was frozen."""
        rows = await self.ledger.fetch(
            "SELECT number, amount, fate FROM stripe_meter_events ORDER BY hour, account_id, number"
        )
        return [tuple(row) for row in rows]

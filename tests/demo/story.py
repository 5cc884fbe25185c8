"""The story: sign-up, checkout, usage, renewal, a payment that fails, cancellation."""

import asyncio
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import asyncpg
import httpx
from msgspec.structs import replace
from rich.console import Console
from rich.table import Table

from events import usage
from tests.demo.shop import BEFORE_S, open_shop
from tests.stripe.running import StandIn
from tests.system.system import System
from tests.usage import a_usage, an_id, recorded
from tests.waiting import until

MONTH_S: Final = 31 * 86_400
WORDS: Final = 24_000
ECHO: Final = {"text": "one two three"}
LEDGER: Final = """
SELECT coalesce(stripe_plan, plan) AS plan, accounts.stripe_customer AS customer,
    customers.stripe_subscription ->> 'status' AS subscription,
    customers.stripe_subscription ->> 'cancel_at' IS NOT NULL AS ends,
    (SELECT count(*) FROM stripe_events) AS events
FROM accounts LEFT JOIN customers ON account_id = accounts.id
WHERE accounts.id = $1
"""
INVOICE: Final = """
SELECT object ->> 'id' FROM stripe_objects
WHERE type = 'invoice' AND object ->> 'status' = $1
ORDER BY object -> 'created' DESC LIMIT 1
"""


async def tell(home: Path, console: Console) -> None:
    """Tell it; every step waits for what it says, or fails."""
    console.print("starting NATS, PostgreSQL, an edge, a worker, consumers, and a Stripe ...")
    async with open_shop(home) as (system, stripe):
        ledger = await system.database()
        try:
            await Story(system, stripe, ledger, console).tell()
        finally:
            await ledger.close()


class Story:
    def __init__(
        self,
        system: System,
        stripe: StandIn,
        ledger: "asyncpg.Connection[asyncpg.Record]",
        console: Console,
    ) -> None:
        self.system = system
        self.stripe = stripe
        self.ledger = ledger
        self.console = console
        self.account_id = ""
        self.customer = httpx.AsyncClient()

    async def tell(self) -> None:
        await self.sign_up()
        await self.check_out()
        await self.use()
        await self.renew()
        await self.fail_to_pay()
        await self.leave()
        await self.customer.aclose()
        self.console.rule("The end")

    async def sign_up(self) -> None:
        self.scene("Ada signs up", "She gets an account and a key, and Stripe a customer.")
        async with self.system.client(self.system.admin_headers) as operator:
            made = await operator.post("/v1/admin/accounts", json={"name": "Ada"})
            self.account_id = made.json()["id"]
            path = f"/v1/admin/accounts/{self.account_id}/keys"
            key = (await operator.post(path, json={})).json()["api_key"]
        await self.customer.aclose()
        self.customer = self.system.client({"Authorization": f"Bearer {key}"})
        await self.sees(lambda now: now["customer"])
        answers = [(await self.ask()).status_code for _ in range(4)]
        self.say(f"Four requests on the plan `default`: {answers}. Three a day are free.")
        assert answers == [200, 200, 200, 429], answers
        await self.show()

    async def check_out(self) -> None:
        self.scene(
            "Ada buys", "POST /v1/billing/checkout makes a page of Stripe's, where she pays."
        )
        asked = {
            "plan": "pro",
            "success_url": "https://shop.example/thanks",
            "cancel_url": "https://shop.example/",
        }
        page = await self.customer.post("/v1/billing/checkout", json=asked)
        self.say(page.json()["url"])
        session = self.stripe.account.get("/v1/checkout/sessions")["data"][0]
        self.stripe.control.complete(session["id"])
        await self.sees(lambda now: now["plan"] == "pro")
        await until(self.is_admitted)
        self.say("Stripe's webhook changed the plan; the edge lets her through again.")
        await self.show()

    async def use(self) -> None:
        self.scene("Ada works", f"{WORDS:,} words of embeddings, in an hour that is over by now.")
        hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=2)
        account = UUID(self.account_id)
        fact = a_usage(account, request_id=an_id(hour), input_words=WORDS)
        event = recorded(replace(fact, task="embeddings"))
        broker = await self.system.broker()
        await broker.jetstream().publish(usage.subject(event.data), usage.encode(event))
        await broker.close()
        self.stripe.control.advance(BEFORE_S)
        await until(self.is_told)
        self.say("The fold has counted them, and Stripe's meter was told, once.")
        await self.command("usage", "--account", self.account_id, "--by", "task")

    async def renew(self) -> None:
        self.scene("A month later", "Stripe renews the subscription, and bills the words.")
        self.stripe.control.advance(MONTH_S)
        await until(lambda: self.invoice("paid", 2))
        await self.show()
        await self.explain("paid")

    async def fail_to_pay(self) -> None:
        self.scene("The card expires", "The next renewal is not paid: past due, and days of grace.")
        stripe_customer = (await self.now())["customer"]
        self.stripe.control.decline(stripe_customer)
        self.stripe.control.advance(MONTH_S)
        await self.sees(lambda now: now["subscription"] == "past_due")
        assert (await self.now())["plan"] == "pro"
        await self.show()
        await self.explain("open")
        self.say("She enters another card at the portal (POST /v1/billing/portal), and it is paid.")
        self.stripe.control.accept(stripe_customer)
        await self.sees(lambda now: now["subscription"] == "active")
        await self.show()

    async def leave(self) -> None:
        self.scene("Ada leaves", "DELETE /v1/billing/subscription: at the end of what is paid.")
        gone = await self.customer.delete("/v1/billing/subscription")
        assert gone.json()["cancel_at_period_end"], gone.text
        await self.sees(lambda now: now["ends"])
        self.say(f"It ends at {gone.json()['current_period_end']}; until then she keeps `pro`.")
        await self.show()
        self.stripe.control.advance(MONTH_S)
        await self.sees(lambda now: now["plan"] == "default")
        await self.show()
        await self.command("stripe", "history", self.account_id)

    # --- how it is told -----------------------------------------------------------------

    def scene(self, title: str, what: str) -> None:
        self.console.rule(f"[bold]{title}")
        self.say(what)

    def say(self, what: str) -> None:
        self.console.print(what, highlight=False)

    async def now(self) -> dict[str, Any]:
        row = await self.ledger.fetchrow(LEDGER, UUID(self.account_id))
        assert row
        return dict(row)

    async def sees(self, condition: Callable[[dict[str, Any]], object]) -> None:
        """Wait until the ledger says so."""

        async def true() -> object:
            return condition(await self.now())

        await until(true)

    async def show(self) -> None:
        """The ledger, as it is now."""
        now = await self.now()
        table = Table("plan", "customer", "subscription", "events", title="ledger")
        ends = ", ends with its period" if now["ends"] and now["plan"] == "pro" else ""
        table.add_row(
            now["plan"],
            now["customer"],
            f"{now['subscription'] or 'none'}{ends}",
            str(now["events"]),
        )
        self.console.print(table)

    async def ask(self) -> httpx.Response:
        return await self.customer.post("/v1/echo/echo", json=ECHO)

    async def is_admitted(self) -> bool:
        return (await self.ask()).status_code == 200

    async def is_told(self) -> bool:
        told = sum(int(one["payload"]["value"]) for one in self.told())
        return told == WORDS

    def told(self) -> list[Any]:
        return [one for events in self.stripe.account.meter_events.values() for one in events]

    async def invoice(self, status: str, number: int = 1) -> object:
        """The newest invoice of this status, once there are so many."""
        query = "SELECT count(*) FROM stripe_objects WHERE type = 'invoice' AND object @> $1::jsonb"
        count = await self.ledger.fetchval(query, f'{{"status": "{status}"}}')
        return await self.ledger.fetchval(INVOICE, status) if count >= number else None

    async def explain(self, status: str) -> None:
        """The newest invoice of this status, as somebody would who has to answer for it."""
        await until(lambda: self.invoice(status))
        await self.command("stripe", "explain", str(await self.invoice(status)))

    async def command(self, *arguments: str) -> None:
        """Run `tollgate`, as in a second terminal."""
        self.console.print(f"$ tollgate {' '.join(arguments)}", style="bold", highlight=False)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "deploy.cli",
            *arguments,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "TOLLGATE_HOME": str(self.system.home)},
        )
        output, _ = await process.communicate()
        self.console.print(output.decode(), highlight=False, markup=False, soft_wrap=True)
        assert process.returncode == 0, arguments

"""An export, brought back to life in an empty ledger and an empty account of Stripe's.

Every step can be done again: what was made at Stripe is noted with the ledger's own rows in
one transaction, and posted under a key that is made of the export and of the old id. So
who is killed goes on, within the day for which Stripe keeps such keys.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID, uuid5

import msgspec

from events.plans import Plans
from ledger import _sql
from ledger.accounts import list_accounts
from ledger.db import Connection
from ledger.errors import NotEmpty, PlansDiffer, PriceNeeded
from ledger.plan_changes import record_changes
from ledger.stripe.answers import take_answers, take_customer
from ledger.stripe.api import Json, StripeApi
from ledger.stripe.customers import ACCOUNT
from ledger.stripe.exports import TABLES, Export
from ledger.stripe.objects import asking_at

_SQL = _sql.load("exports.sql")

STARTED: Final = ""  # noted before anything else
#: What gives a plan. A subscription of another status is not worth anything to anybody.
LIVE: Final = frozenset({"trialing", "active", "past_due"})
DAY_S: Final = 86_400

_PRODUCT: Final = ("name", "description", "metadata", "unit_label", "statement_descriptor")
_METER: Final = (
    "display_name",
    "event_name",
    "default_aggregation",
    "customer_mapping",
    "value_settings",
    "event_time_window",
)
_PRICE: Final = (
    "currency",
    "lookup_key",
    "nickname",
    "metadata",
    "billing_scheme",
    "tax_behavior",
)
_CUSTOMER: Final = (
    "name",
    "email",
    "description",
    "phone",
    "address",
    "shipping",
    "preferred_locales",
    "balance",
)
_TERMS: Final = ("plan", "limits", "concurrency", "monthly_budget", "own_budget")
_SUBSCRIPTION: Final = ("description", "collection_method", "days_until_due")


class Restore:
    """One run of it.

    Args:
        connection: To a ledger that is migrated, and empty or half restored.
        stripe: Likewise.
        export: What is restored.
        plans: Those that run now; their prices have to be those of the export.
        say: Told what was done.
    """

    def __init__(
        self,
        connection: Connection,
        stripe: StripeApi,
        export: Export,
        plans: Plans,
        say: Callable[[str], None],
    ) -> None:
        self._connection = connection
        self._stripe = stripe
        self._export = export
        self._plans = plans
        self._say = say
        self._new: dict[str, str] = {}  # ids by the old ones

    async def run(self, *, go_on: bool) -> Sequence[str]:
        """Restore all of it.

        Args:
            go_on: With one that was interrupted.

        Returns:
            What is not as it was, in words.

        Raises:
            PlansDiffer: the plans file says otherwise than the export.
            NotEmpty: there is something that is not this export's.
            StripeUnavailable, StripeKeyRefused, StripeRefused: go on later.
        """
        self._require_plans()
        await self._require_empty(go_on=go_on)
        await self._restore_tables()
        await self._restore_catalogue()
        await self._restore_customers()
        left = await self._restore_subscriptions()
        return [*left, *await self._compare()]

    # --- first: may it be ---------------------------------------------------------------

    def _require_plans(self) -> None:
        for plan in self._export.of("plan"):
            known = self._plans.get(plan["name"])
            if known is None or set(known.lookup_keys) != set(plan.get("lookup_keys", ())):
                raise PlansDiffer(plan["name"])

    async def _require_empty(self, *, go_on: bool) -> None:
        rows = await self._connection.fetch(_SQL["restored"], self._export.header.export_id)
        self._new = {row["old_id"]: row["new_id"] for row in rows}
        if go_on and self._new:
            return
        if self._new:
            raise NotEmpty("this export was restored here, in whole or in part")
        if await self._connection.fetchval(_SQL["is_used"]):
            raise NotEmpty("the ledger has accounts or objects already")
        for path in ("/v1/customers", "/v1/prices"):
            found, _ = await self._stripe.page(path, limit=1)
            if found:
                raise NotEmpty(f"Stripe has {path.rpartition('/')[2]} already")
        await self._note(STARTED, STARTED)

    # --- ours --------------------------------------------------------------------------

    async def _restore_tables(self) -> None:
        at, export_id = self._export.header.at, self._export.header.export_id
        for kind in TABLES.values():
            records = [self._text(record) for record in self._export.of(kind)]
            await self._connection.executemany(_SQL[f"restore_{kind}"], records)
            self._say(f"{kind}: {len(records)}")
        accounts = {UUID(account["id"]): "restore" for account in self._export.of("account")}
        await record_changes(self._connection, accounts)
        spent = [
            {
                "id": str(uuid5(export_id, account["id"])),
                "account_id": account["id"],
                "amount": -account["spent"],
                "reason": f"used before the export of {at:%Y-%m-%d %H:%M} UTC",
                "created_at": at.isoformat(),
            }
            for account in self._export.of("account")
            if account["spent"]
        ]
        await self._connection.executemany(
            _SQL["restore_credit"], [self._text(record) for record in spent]
        )

    def _text(self, record: Json) -> tuple[str]:
        return (msgspec.json.encode(record).decode(),)

    # --- Stripe's ----------------------------------------------------------------------

    async def _restore_catalogue(self) -> None:
        for product in self._export.of("product"):
            if product.get("active"):
                await self._make("/v1/products", product["id"], _copied(product, _PRODUCT))
        for meter in self._export.of("meter"):
            if meter.get("status") == "active":
                params = _copied(meter, _METER)
                params.get("customer_mapping", {"type": "by_id"}).setdefault("type", "by_id")
                await self._make("/v1/billing/meters", meter["id"], params)
        for price in self._prices():
            if price.get("billing_scheme") == "tiered":
                await self._adopt(price)
            else:
                await self._make("/v1/prices", price["id"], self._price(price))
        self._say(f"products, meters and prices: {len(self._new) - 1}")

    async def _adopt(self, price: Json) -> None:
        """Take a price that somebody has made anew: its tiers are not in its object."""
        key = price["lookup_key"]
        found, _ = await self._stripe.page("/v1/prices", lookup_keys=[key]) if key else ([], False)
        if not found:
            raise PriceNeeded(key or price["id"])
        await self._note(price["id"], found[0]["id"])

    def _prices(self) -> Sequence[Json]:
        """Those that are for sale, and those that are paid."""
        found = {price["id"]: price for price in self._export.of("price") if price["active"]}
        for subscription in self._subscriptions():
            for item in subscription["items"]["data"]:
                found.setdefault(item["price"]["id"], item["price"])
        return list(found.values())

    def _price(self, price: Json) -> Json:
        params = _copied(price, _PRICE)
        amount = "unit_amount" if price.get("unit_amount") is not None else "unit_amount_decimal"
        recurring = _copied(price.get("recurring") or {}, ("interval", "interval_count"))
        if recurring:
            recurring["usage_type"] = price["recurring"]["usage_type"]
            if meter := price["recurring"].get("meter"):
                recurring["meter"] = self._new[meter]
            params["recurring"] = recurring
        old = price["product"]
        product = self._new.get(old)
        named: Json = {"product_data": {"name": price.get("nickname") or old}}
        return params | {amount: price[amount]} | ({"product": product} if product else named)

    async def _restore_customers(self) -> None:
        accounts = {
            account["stripe_customer"]: account
            for account in self._export.of("account")
            if account["stripe_customer"]
        }
        known = {customer["id"]: customer for customer in self._export.of("customer")}
        for old_id in [*known, *(accounts.keys() - known.keys())]:
            account = accounts.get(old_id)
            customer = known.get(old_id) or {"name": account and account["name"]}
            params = _copied(customer, _CUSTOMER)
            metadata = dict(customer.get("metadata") or {})
            if account is not None:
                metadata[ACCOUNT] = account["id"]
            owner = None if account is None else UUID(account["id"])
            await self._make("/v1/customers", old_id, params | {"metadata": metadata}, owner)
        self._say(f"customers: {len(known.keys() | accounts.keys())}")

    def _subscriptions(self) -> Sequence[Json]:
        """Those that give a plan: a payment that is past due beyond its grace gives none."""
        held = {
            account["stripe_customer"]
            for account in self._export.of("account")
            if account["stripe_plan"]
        }
        return [
            one
            for one in self._export.of("subscription")
            if one["status"] in LIVE and (one["status"] != "past_due" or one["customer"] in held)
        ]

    async def _restore_subscriptions(self) -> Sequence[str]:
        live = self._subscriptions()
        for subscription in live:
            params = self._subscription(subscription)
            later = {
                name: subscription[name]
                for name in ("pause_collection", "cancel_at")
                if subscription.get(name) and not subscription.get("cancel_at_period_end")
            }
            await self._make("/v1/subscriptions", subscription["id"], params, later=later)
        self._say(f"subscriptions: {len(live)}")
        ids = {one["id"] for one in live}
        return [
            f"subscription {one['id']} of {one['customer']} was {one['status']}: not made again"
            for one in self._export.of("subscription")
            if one["id"] not in ids and one["status"] not in ("canceled", "incomplete_expired")
        ]

    def _subscription(self, subscription: Json) -> Json:
        items = subscription["items"]["data"]
        ends = [item.get("current_period_end") for item in items]
        # what was paid stays paid: nothing is charged before the period is over
        end = max(
            subscription.get("current_period_end") or max(filter(None, ends), default=0),
            int(datetime.now(UTC).timestamp()) + DAY_S,
        )
        trial = subscription["status"] == "trialing"
        params = _copied(subscription, _SUBSCRIPTION) | {
            "customer": self._new[subscription["customer"]],
            "items": [
                {"price": self._new[item["price"]["id"]]} | _copied(item, ("quantity",))
                for item in items
            ],
            "metadata": subscription.get("metadata") or {},
            "proration_behavior": "none",
            "trial_end" if trial else "billing_cycle_anchor": end,
        }
        if subscription.get("cancel_at_period_end"):
            params["cancel_at_period_end"] = True
        return params

    async def _make(
        self,
        path: str,
        old_id: str,
        params: Json,
        owner: UUID | None = None,
        later: Json | None = None,
    ) -> None:
        """Make something at Stripe, unless that is done, and note it with what follows of it."""
        if old_id in self._new:
            return
        asked_at = await asking_at(self._connection)
        key = f"tollgate-restore-{self._export.header.export_id}-{old_id}"
        answer = await self._stripe.post(path, idempotency_key=key, **params)
        if later:
            answer = await self._stripe.post(
                f"{path}/{answer['id']}", idempotency_key=f"{key}-later", **later
            )
        async with self._connection.transaction():
            if owner is None:
                await take_answers(self._connection, [answer], asked_at=asked_at, plans=self._plans)
            else:
                await take_customer(
                    self._connection,
                    owner,
                    answer["id"],
                    [answer],
                    asked_at=asked_at,
                    plans=self._plans,
                )
            await self._note(old_id, answer["id"])

    async def _note(self, old_id: str, new_id: str) -> None:
        export_id = self._export.header.export_id
        await self._connection.execute(_SQL["note_restored"], export_id, old_id, new_id)
        self._new[old_id] = new_id

    # --- at last: is it as it was --------------------------------------------------------

    async def _compare(self) -> Sequence[str]:
        now = {str(account.id): account for account in await list_accounts(self._connection)}
        return [
            f"account {was['id']}: {term} was {was[term]}, and is {value}"
            for was in self._export.of("account")
            for term in _TERMS
            if (value := getattr(now[was["id"]], term)) != was[term]
        ]


def _copied(source: Mapping[str, Any], names: Sequence[str]) -> Json:
    """What is set of these."""
    return {name: source[name] for name in names if source.get(name)}

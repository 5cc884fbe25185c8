"""What is asked of Stripe while a caller waits: the money's side of an account.

A repeat of a call, at the same time or after an answer that was lost, is the same call
to Stripe, too: its idempotency key is made of the account, of how many of its changes
Stripe has settled, and of how many subscriptions have ended. The former moves in the
transaction that stores the answer; the latter also where others end them.
"""

import hashlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated, Any, Final
from uuid import UUID, uuid4

import msgspec
from litestar import Litestar
from msgspec import Meta, Struct

from edge.admission.counters import Counters
from edge.asking import ASKING, asking, understanding
from edge.errors import AlreadySubscribed, BrokerAway, InvalidInput, NoSubscription, RateLimited
from edge.plans import RunningPlans
from edge.prices import Price, find_prices
from edge.settings import Settings
from edge.stripe.subscriptions import Subscription, SubscriptionChanges, changed_items, describe
from events import counters
from events.windows import span
from ledger.db import Pool, acquire
from ledger.errors import StripeRefused
from ledger.stripe.answers import take_answers, take_customer
from ledger.stripe.api import OTHER_CALL, Json, StripeApi, read
from ledger.stripe.customers import ACCOUNT, claim_customer, make_customer
from ledger.stripe.subscribers import Subscriber, count_attempt, find_subscriber

CALLS_A_MINUTE: Final = 20  # of one account; each asks Stripe up to four things
POLICY: Final = "billing"  # what such a refusal is called
#: What may be raised where Stripe is asked on an account's behalf.
ASKING_FOR: Final = (*ASKING, BrokerAway, RateLimited)


Url = Annotated[str, Meta(pattern="^[!-~]+$")]  # what JSON can hold besides cannot be sent on


class _Page(Struct, frozen=True):
    url: Url | None


class _OpenPage(Struct, frozen=True):
    url: Url


class Billing:
    """Asks Stripe on an account's behalf, and stores its answers at once.

    Args:
        settings: With a key of Stripe's, or without.
        pool: The ledger's.
        plans: Which prices stand for which plan.
        asked: Counts how often accounts did.
    """

    def __init__(
        self, settings: Settings, pool: Pool, plans: RunningPlans, asked: Counters
    ) -> None:
        key = settings.stripe_api_key
        self._api = StripeApi(key, settings.stripe_api_base) if key else None
        self._pool = pool
        self._plans = plans
        self._asked = asked

    @asynccontextmanager
    async def running(self, _: Litestar) -> AsyncIterator[None]:
        """Close the connections at the end."""
        try:
            yield
        finally:
            if self._api is not None:
                await self._api.close()

    async def subscription(self, account_id: UUID) -> Subscription:
        """The account's subscription; the ledger is asked, and not Stripe.

        Raises:
            NoSubscription: it never had one.
            UnknownAccount: there is no such account.
        """
        with understanding():
            subscriber = await self._subscriber(account_id)
            if subscriber.subscription is None:
                raise NoSubscription("this account has no subscription")
            return describe(subscriber.subscription, self._plans.plans)

    async def subscribe(self, account_id: UUID, plan: str, price: str | None) -> Subscription:
        """Make a subscription that is paid by what the customer has on file.

        Raises:
            AlreadySubscribed: to another plan, or by another price.
            PaymentFailed, RefusedByStripe, StripeAway, BillingNotConfigured: nothing was made,
                or the same call finds out.
        """
        async with self._asking(account_id) as stripe:
            subscriber = await self._subscriber(account_id)
            if subscriber.subscribed:
                return self._only(subscriber, plan, price)
            prices = await self._prices(stripe, plan, price)
            customer = await self._customer(stripe, subscriber)

            key = f"tollgate-subscribe-{customer}-{subscriber.attempts}-{subscriber.ended}"

            async def post() -> Json:
                return await stripe.post(
                    "/v1/subscriptions",
                    idempotency_key=key,
                    customer=customer,
                    items=[{"price": one.id} for one in prices],
                    payment_behavior="error_if_incomplete",
                    metadata={ACCOUNT: str(account_id)},
                )

            return await self._settle(subscriber, post)

    def _only(self, subscriber: Subscriber, plan: str, price: str | None) -> Subscription:
        """The subscription that there is, if it is the one that is wanted."""
        assert subscriber.subscription is not None
        subscription = describe(subscriber.subscription, self._plans.plans)
        if subscription.plan == plan and price in (None, subscription.price):
            return subscription
        there = subscription.price or subscription.plan or "something else"
        raise AlreadySubscribed(f"this account is subscribed to {there}: change that")

    async def change(self, account_id: UUID, wanted: SubscriptionChanges) -> Subscription:
        """Change a subscription's plan, or whether it ends.

        Raises:
            InvalidInput: a price without its plan, or one that is not for sale.
            NoSubscription: there is none that goes on.
            PaymentFailed, RefusedByStripe, StripeAway, BillingNotConfigured: as `subscribe`.
        """
        if wanted.price is not None and wanted.plan is None:
            raise InvalidInput("name the plan, too, that the price is of", param="plan")
        async with self._asking(account_id) as stripe:
            subscriber, subscription = await self._subscribed(account_id)
            changes: dict[str, Any] = {}
            there = describe(subscription, self._plans.plans)
            # who does not name a price keeps the one that is paid
            if wanted.plan is not None and (wanted.price or wanted.plan != there.plan):
                prices = await self._prices(stripe, wanted.plan, wanted.price)
                if items := changed_items(subscription, prices, self._plans.plans):
                    changes["items"] = items
                    changes["proration_behavior"] = wanted.proration
                    changes["payment_behavior"] = "error_if_incomplete"
            if wanted.cancel_at_period_end is not None:
                changes["cancel_at_period_end"] = wanted.cancel_at_period_end
            if not changes:
                return there
            return await self._settle(
                subscriber, lambda: _change(stripe, subscriber, subscription["id"], changes)
            )

    async def cancel(self, account_id: UUID, *, now: bool) -> Subscription:
        """End a subscription with its period, or now. Raises as `change`."""
        async with self._asking(account_id) as stripe:
            subscriber, subscription = await self._subscribed(account_id)

            async def end() -> Json:
                if not now:
                    changes = {"cancel_at_period_end": True}
                    return await _change(stripe, subscriber, subscription["id"], changes)
                path = f"/v1/subscriptions/{subscription['id']}"
                try:
                    # or what was used and upgraded to in this period is never billed
                    return await stripe.delete(path, invoice_now=True)
                except StripeRefused as error:
                    if error.status != 404:  # noqa: PLR2004 - a double click's second one
                        raise
                    return await stripe.get(path)

            return await self._settle(subscriber, end)

    async def checkout(
        self, account_id: UUID, plan: str, price: str | None, *, success_url: str, cancel_url: str
    ) -> str:
        """Where the customer can subscribe to a plan and pay.

        Raises:
            AlreadySubscribed: a second subscription would be paid, too.
            RefusedByStripe, StripeAway, BillingNotConfigured: there is no such page.
        """
        async with self._asking(account_id) as stripe:
            subscriber = await self._subscriber(account_id)
            if subscriber.subscribed:
                raise AlreadySubscribed("this account is subscribed: change that, or cancel it")
            prices = await self._prices(stripe, plan, price)
            asked = {
                "customer": await self._customer(stripe, subscriber),
                "line_items": [
                    {"price": one.id} | ({} if one.is_metered else {"quantity": 1})
                    for one in prices
                ],
                "success_url": success_url,
                "cancel_url": cancel_url,
            }
            hour = f"{datetime.now(UTC):%Y%m%d%H}"  # a page lives for a day, a key as long
            key = f"tollgate-checkout-{account_id}-{subscriber.ended}-{hour}-{_digest(asked)}"
            session = await stripe.post(
                "/v1/checkout/sessions",
                idempotency_key=key,
                mode="subscription",
                client_reference_id=str(account_id),
                subscription_data={"metadata": {ACCOUNT: str(account_id)}},
                **asked,
            )
            url = read(session, _Page).url
        if url is None:  # of this hour, and the subscription not heard of yet
            raise AlreadySubscribed("this page was used; look at the subscription in a moment")
        return url

    async def portal(self, account_id: UUID, *, return_url: str) -> str:
        """Where the customer sees invoices and changes what they are paid with.

        Raises:
            RefusedByStripe, StripeAway, BillingNotConfigured: there is no such page.
        """
        async with self._asking(account_id) as stripe:
            customer = await self._customer(stripe, await self._subscriber(account_id))
            session = await stripe.post(
                "/v1/billing_portal/sessions",
                idempotency_key=str(uuid4()),  # a link for one use: each click has its own
                customer=customer,
                return_url=return_url,
            )
            return read(session, _OpenPage).url

    async def link(self, account_id: UUID, customer: str) -> None:
        """Say whose customer an account is, in place of what was said before.

        Raises:
            CustomerConflict: another account is this customer.
            RefusedByStripe, StripeAway, BillingNotConfigured: nobody can say that it exists.
        """
        async with asking(self._api) as stripe:
            subscriber = await self._subscriber(account_id)
            answer = await claim_customer(stripe, account_id, customer)
            async with acquire(self._pool) as connection:
                await take_customer(
                    connection,
                    account_id,
                    customer,
                    [answer],
                    asked_at=subscriber.asked_at,
                    plans=self._plans.plans,
                    instead=True,
                )

    # --- together ---------------------------------------------------------------------

    @asynccontextmanager
    async def _asking(self, account_id: UUID) -> AsyncIterator[StripeApi]:
        """Ask Stripe on an account's behalf, unless it has had its share of this minute.

        What Stripe allows is for all: who asks without end would keep the others, and the
        consumers, from it. Counted on all edges together.

        Raises:
            RateLimited: it has.
            BrokerAway: nobody can tell.
        """
        async with asking(self._api) as stripe:
            now_ms = int(time.time() * 1_000)
            minute = span("minute", now_ms)
            subject = counters.base(counters.LIMITS, "minute", minute, str(account_id), POLICY)
            if await self._asked.add(subject, 1) > CALLS_A_MINUTE:
                raise RateLimited(
                    f"an account can ask for {CALLS_A_MINUTE} changes and pages each minute",
                    policy=POLICY,
                    retry_after_s=(minute.end_ms - now_ms) / 1_000,
                )
            yield stripe

    async def _subscriber(self, account_id: UUID) -> Subscriber:
        async with acquire(self._pool) as connection:
            return await find_subscriber(connection, account_id)

    async def _subscribed(self, account_id: UUID) -> tuple[Subscriber, Json]:
        subscriber = await self._subscriber(account_id)
        if not subscriber.subscribed or subscriber.subscription is None:
            raise NoSubscription("this account has no subscription that could be changed")
        return subscriber, subscriber.subscription

    async def _customer(self, stripe: StripeApi, subscriber: Subscriber) -> str:
        """The account's customer; made now, if nobody came to it yet."""
        if subscriber.customer is not None:
            return subscriber.customer
        answer = await make_customer(stripe, subscriber.account_id, subscriber.name)
        customer: str = answer["id"]
        async with acquire(self._pool) as connection:
            await take_customer(
                connection,
                subscriber.account_id,
                customer,
                [answer],
                asked_at=subscriber.asked_at,
                plans=self._plans.plans,
            )
        return customer

    async def _prices(self, stripe: StripeApi, plan: str, price: str | None) -> Sequence[Price]:
        self._plans.require(plan)
        return await find_prices(stripe, self._plans.plans[plan], price)

    async def _settle(
        self, subscriber: Subscriber, ask: Callable[[], Awaitable[Json]]
    ) -> Subscription:
        """Have Stripe change the subscription, and store what it says.

        An answer that cannot be read is none: the attempt is not over, so that the next
        call is the same one.
        """
        plans = self._plans.plans
        try:
            answer = await ask()
            settled = describe(answer, plans)
        except StripeRefused as error:
            if error.code == OTHER_CALL:
                message = "another change is under way; look at the subscription, and try again"
                raise AlreadySubscribed(message) from error
            async with acquire(self._pool) as connection:
                await count_attempt(connection, subscriber)  # or it would refuse for a day
            raise
        async with acquire(self._pool) as connection, connection.transaction():
            await take_answers(connection, [answer], asked_at=subscriber.asked_at, plans=plans)
            await count_attempt(connection, subscriber)
        return settled


async def _change(
    stripe: StripeApi, subscriber: Subscriber, subscription: str, changes: Json
) -> Json:
    key = f"tollgate-change-{subscription}-{subscriber.attempts}-{_digest(changes)}"
    return await stripe.post(f"/v1/subscriptions/{subscription}", idempotency_key=key, **changes)


def _digest(values: Json) -> str:
    return hashlib.sha256(msgspec.json.encode(values)).hexdigest()[:16]

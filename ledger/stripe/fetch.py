"""Asking Stripe for objects, by what they are."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import quote

from msgspec import Struct

from ledger.errors import StripeError, StripeRefused, UnreadableObject
from ledger.stripe.api import Json, StripeApi

#: Where each type is found. What is not here has to be settled by its events.
PATHS: Final[Mapping[str, str]] = {
    "billing.credit_grant": "/v1/billing/credit_grants/{id}",
    "billing.meter": "/v1/billing/meters/{id}",
    "charge": "/v1/charges/{id}",
    "checkout.session": "/v1/checkout/sessions/{id}",
    "coupon": "/v1/coupons/{id}",
    "credit_note": "/v1/credit_notes/{id}",
    "customer": "/v1/customers/{id}",
    "dispute": "/v1/disputes/{id}",
    "entitlements.feature": "/v1/entitlements/features/{id}",
    "invoice": "/v1/invoices/{id}",
    "invoiceitem": "/v1/invoiceitems/{id}",
    "payment_intent": "/v1/payment_intents/{id}",
    "payment_link": "/v1/payment_links/{id}",
    "payment_method": "/v1/payment_methods/{id}",
    "payout": "/v1/payouts/{id}",
    "plan": "/v1/plans/{id}",
    "price": "/v1/prices/{id}",
    "product": "/v1/products/{id}",
    "promotion_code": "/v1/promotion_codes/{id}",
    "quote": "/v1/quotes/{id}",
    "refund": "/v1/refunds/{id}",
    "setup_intent": "/v1/setup_intents/{id}",
    "subscription": "/v1/subscriptions/{id}",
    "subscription_item": "/v1/subscription_items/{id}",
    "subscription_schedule": "/v1/subscription_schedules/{id}",
    "tax_rate": "/v1/tax_rates/{id}",
    "test_helpers.test_clock": "/v1/test_helpers/test_clocks/{id}",
    "topup": "/v1/topups/{id}",
    "transfer": "/v1/transfers/{id}",
}
SUMMARY: Final = "entitlements.active_entitlement_summary"
FETCHED: Final = (*PATHS, SUMMARY)

_MISSING: Final = 404


class Wanted(Struct, frozen=True, kw_only=True):
    """An object that Stripe is to be asked for."""

    id: str  # Stripe's, or the ledger's own of a summary
    type: str  # one of `FETCHED`
    customer: str | None  # whose it is, where that is known


async def fetch_objects(api: StripeApi, wanted: Sequence[Wanted]) -> Sequence[Json | StripeError]:
    """Ask for several at once: of each the answer of `fetch_object`, or why there is none."""
    return await asyncio.gather(*[_fetch(api, one) for one in wanted])


async def fetch_object(api: StripeApi, wanted: Wanted) -> Json:
    """Ask for an object as it is now.

    Returns:
        The object; of what does not exist ``{"id", "object", "deleted": true}``.

    Raises:
        StripeUnavailable, StripeKeyRefused, StripeRefused: as `StripeApi.get`.
        UnreadableObject: Stripe answered with something else.
    """
    if wanted.type == SUMMARY:
        return await _fetch_summary(api, wanted.customer or "")
    try:
        answer = await api.get(PATHS[wanted.type].format(id=quote(wanted.id, safe="")))
    except StripeRefused as error:
        if error.status != _MISSING:
            raise
        return {"id": wanted.id, "object": wanted.type, "deleted": True}
    if (answer.get("id"), answer.get("object")) != (wanted.id, wanted.type):
        raise UnreadableObject(f"asked for {wanted.id}, Stripe answered with something else")
    return answer


async def _fetch(api: StripeApi, wanted: Wanted) -> Json | StripeError:
    try:
        return await fetch_object(api, wanted)
    except StripeError as error:
        return error


async def _fetch_summary(api: StripeApi, customer: str) -> Json:
    """All that a customer is entitled to, as an event's summary would say it."""
    pages = api.pages("/v1/entitlements/active_entitlements", customer=customer)
    entitlements = [one async for one in pages]
    return {
        "object": SUMMARY,
        "customer": customer,
        "entitlements": {"object": "list", "data": entitlements, "has_more": False},
    }

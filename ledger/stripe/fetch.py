"""Asking Stripe for one object, by what it is."""

from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

from ledger.errors import StripeRefused, StripeUnavailable
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


async def fetch_object(api: StripeApi, kind: str, object_id: str, customer: str | None) -> Json:
    """Ask for an object as it is now.

    Args:
        api: Stripe's.
        kind: One of `FETCHED`.
        object_id: Stripe's, or the ledger's own of a summary.
        customer: Whose it is, where that is known.

    Returns:
        The object; of what does not exist ``{"id", "object", "deleted": true}``.

    Raises:
        StripeUnavailable, StripeKeyRefused, StripeRefused: as `StripeApi.get`.
    """
    if kind == SUMMARY:
        return await _fetch_summary(api, customer or "")
    try:
        answer = await api.get(PATHS[kind].format(id=quote(object_id, safe="")))
    except StripeRefused as error:
        if error.status != _MISSING:
            raise
        return {"id": object_id, "object": kind, "deleted": True}
    if not isinstance(answer, dict) or (answer.get("id"), answer.get("object")) != (
        object_id,
        kind,
    ):
        raise StripeUnavailable(f"asked for {object_id}, Stripe answered with something else")
    return answer


async def _fetch_summary(api: StripeApi, customer: str) -> Json:
    """All that a customer is entitled to, as an event's summary would say it."""
    pages = api.pages("/v1/entitlements/active_entitlements", customer=customer)
    entitlements = [one async for one in pages]
    return {
        "object": SUMMARY,
        "customer": customer,
        "entitlements": {"object": "list", "data": entitlements, "has_more": False},
    }

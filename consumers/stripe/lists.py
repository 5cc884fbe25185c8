"""The lists of Stripe's that plans depend on, and those that people look things up in."""

from typing import Final

from msgspec import Struct

from ledger.stripe.api import Json


class Listed(Struct, frozen=True):
    """One list."""

    kind: str  # Stripe's word for what is in it
    path: str
    params: Json = {}


#: Customers first: if the key is another account's, they show it before anything is changed.
PLANS_DEPEND_ON: Final = (
    Listed("customer", "/v1/customers"),
    Listed("product", "/v1/products"),
    Listed("price", "/v1/prices"),
    Listed("entitlements.feature", "/v1/entitlements/features"),
    Listed("subscription", "/v1/subscriptions"),  # those that are open: Stripe's default
)
ALL: Final = (
    *PLANS_DEPEND_ON[:-1],
    Listed("billing.meter", "/v1/billing/meters"),
    Listed("subscription", "/v1/subscriptions", {"status": "all"}),
    Listed("invoice", "/v1/invoices"),
)

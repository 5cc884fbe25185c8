"""The lists of Stripe's that plans depend on, and those that people look things up in."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import structlog
from msgspec import Struct

from ledger.errors import StripeError, StripeNotPermitted, StripeRefused, UnreadableObject
from ledger.stripe.api import Json, StripeApi
from ledger.stripe.fetch import SUMMARY, Wanted, fetch_objects

log = structlog.get_logger()

AT_ONCE: Final = 20  # objects that are asked for together: a second's worth of `StripeApi`


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


class Denied:
    """What a restricted key may not read: it is passed over, and in the end said."""

    def __init__(self) -> None:
        self._said: list[str] = []

    @contextmanager
    def passing_over(self, what: str) -> Iterator[None]:
        """Go on after the block where the key may not read what it reads."""
        try:
            yield
        except StripeNotPermitted as error:
            self._said.append(f"{what}: {error}")

    def say(self) -> None:
        """Say what was passed over.

        Raises:
            StripeNotPermitted: something was.
        """
        if self._said:
            raise StripeNotPermitted("; ".join(self._said))


async def ask_for(api: StripeApi, wanted: Sequence[Wanted]) -> Sequence[Json]:
    """What Stripe has of these objects, in their order; what it refuses is said and left out.

    Raises:
        StripeUnavailable, StripeKeyRefused: some of them were not answered.
    """
    found: list[Json] = []
    for one, answer in zip(wanted, await fetch_objects(api, wanted), strict=True):
        if isinstance(answer, StripeRefused | UnreadableObject):
            log.warning("stripe_refused", object=one.id, error=repr(answer))
        elif isinstance(answer, StripeError):
            raise answer
        else:
            found.append(answer)
    return found


def wanted_summaries(customers: Sequence[str]) -> Sequence[Wanted]:
    """What these customers are entitled to: Stripe lists that for one of them at a time."""
    return [Wanted(id=f"{SUMMARY}:{one}", type=SUMMARY, customer=one) for one in customers]

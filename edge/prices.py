"""The prices that a plan is sold by."""

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from edge.errors import InvalidInput, RefusedByStripe
from events.plans import Plan
from ledger.stripe.api import StripeApi, read

MOST_KEYS: Final = 10  # lookup keys that Stripe takes at once


class Recurring(Struct, frozen=True):
    """How often a price is paid, and by what."""

    interval: str
    interval_count: int
    usage_type: str = "licensed"


class Price(Struct, frozen=True):
    """A price of Stripe's, as far as it matters here."""

    id: str
    lookup_key: str | None = None
    recurring: Recurring | None = None

    @property
    def is_metered(self) -> bool:
        """Whether it is paid by what was used."""
        return self.recurring is not None and self.recurring.usage_type == "metered"

    def shares_invoices(self, other: "Price") -> bool:
        """Whether both can be of one subscription: they are paid by the same interval."""
        if self.recurring is None or other.recurring is None:
            return False
        mine, theirs = self.recurring, other.recurring
        return (mine.interval, mine.interval_count) == (theirs.interval, theirs.interval_count)


async def find_prices(stripe: StripeApi, plan: Plan, wanted: str | None) -> Sequence[Price]:
    """Ask Stripe for the price of a plan: the one that is wanted, or the first; and what it meters.

    Raises:
        InvalidInput: the plan has no such price, or none at all.
        RefusedByStripe: it is not for sale at Stripe.
        UnreadableObject: Stripe's prices are none.
    """
    keys = plan.lookup_keys
    if wanted is not None and wanted not in keys:
        said = ", ".join(keys) or "none"
        raise InvalidInput(f"plan {plan.name!r} has no price {wanted!r}: {said}", param="price")
    if not keys:
        raise InvalidInput(f"plan {plan.name!r} is not for sale: it has no prices", param="plan")
    found: dict[str | None, Price] = {}
    for first in range(0, len(keys), MOST_KEYS):
        some = list(keys[first : first + MOST_KEYS])
        page, _ = await stripe.page("/v1/prices", lookup_keys=some, active=True, limit=MOST_KEYS)
        found |= {one.lookup_key: one for one in (read(price, Price) for price in page)}
    chosen = _choose([found[key] for key in keys if key in found], wanted)
    if not chosen:
        raise RefusedByStripe(f"Stripe has no active price called {wanted or ', '.join(keys)}")
    return chosen


def _choose(for_sale: Sequence[Price], wanted: str | None) -> Sequence[Price]:
    """The prices that a plan is subscribed to by.

    Args:
        for_sale: The plan's, in the order of its lookup keys.
        wanted: The lookup key of one of them; None: the first with a fixed amount, or else
            the first.

    Returns:
        That one, and all that are metered by the same interval; none where it is not for sale.
    """
    fixed = [one for one in for_sale if not one.is_metered]
    named = [one for one in for_sale if one.lookup_key == wanted]
    chosen = (named if wanted is not None else fixed or [*for_sale])[:1]
    return chosen + [
        one
        for one in for_sale
        if chosen and one.is_metered and one is not chosen[0] and one.shares_invoices(chosen[0])
    ]

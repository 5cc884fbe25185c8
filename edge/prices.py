"""The prices that a plan is sold by."""

from collections.abc import Sequence
from typing import Final

from edge.errors import InvalidInput, RefusedByStripe
from events.plans import Plan
from ledger.stripe.api import Json, StripeApi

MOST_KEYS: Final = 10  # lookup keys that Stripe takes at once


async def find_prices(stripe: StripeApi, plan: Plan, wanted: str | None) -> Sequence[Json]:
    """Ask Stripe for the price of a plan: the one that is wanted, or the first; and what it meters.

    Raises:
        InvalidInput: the plan has no such price, or none at all.
        RefusedByStripe: it is not for sale at Stripe.
    """
    keys = plan.lookup_keys
    if wanted is not None and wanted not in keys:
        said = ", ".join(keys) or "none"
        raise InvalidInput(f"plan {plan.name!r} has no price {wanted!r}: {said}", param="price")
    if not keys:
        raise InvalidInput(f"plan {plan.name!r} is not for sale: it has no prices", param="plan")
    found: dict[str, Json] = {}
    for first in range(0, len(keys), MOST_KEYS):
        some = list(keys[first : first + MOST_KEYS])
        page, _ = await stripe.page("/v1/prices", lookup_keys=some, active=True, limit=MOST_KEYS)
        found |= {one["lookup_key"]: one for one in page}
    chosen = _choose([found[key] for key in keys if key in found], wanted)
    if not chosen:
        raise RefusedByStripe(f"Stripe has no active price called {wanted or ', '.join(keys)}")
    return chosen


def is_metered(price: Json) -> bool:
    """Whether it is paid by what was used."""
    return bool((price.get("recurring") or {}).get("usage_type") == "metered")


def _choose(for_sale: Sequence[Json], wanted: str | None) -> Sequence[Json]:
    """The prices that a plan is subscribed to by.

    Args:
        for_sale: The plan's, in the order of its lookup keys.
        wanted: The lookup key of one of them; None: the first with a fixed amount, or else
            the first.

    Returns:
        That one, and all that are metered by the same interval; none where it is not for sale.
    """
    fixed = [one for one in for_sale if not is_metered(one)]
    named = [one for one in for_sale if one["lookup_key"] == wanted]
    chosen = (named if wanted is not None else fixed or [*for_sale])[:1]
    return chosen + [
        one
        for one in for_sale
        if chosen and is_metered(one) and one is not chosen[0] and _interval(one, chosen[0])
    ]


def _interval(one: Json, other: Json) -> bool:
    return all(
        one["recurring"][name] == other["recurring"][name]
        for name in ("interval", "interval_count")
    )

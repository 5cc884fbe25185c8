"""Meters: what of an account's usage Stripe is told, so that it can charge for it.

They are declared beside the plans (`events/plans.py` reads them), under the names that
they have at Stripe.
"""

from collections.abc import Sequence
from datetime import date
from typing import Annotated, Final

from msgspec import Meta, Struct

from events.units import MeterUnit

_BEGINNING: Final = date(2000, 1, 1)


class Meter(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One quantity, told to one of Stripe's meters. Like that one, it is never changed."""

    event_name: Annotated[str, Meta(min_length=1, max_length=100)]  # as Stripe's meter has it
    unit: MeterUnit
    only: tuple[str, ...] = ()  # models or tasks; none: all of them
    since: date = _BEGINNING  # the first day that counts, in UTC


Meters = Sequence[Meter]

"""Stripe's meters as Stripe has them, and whether they are fit to be told anything."""

from collections.abc import Mapping

from msgspec import Struct

from ledger.errors import UnreadableObject
from ledger.stripe.api import Json, StripeApi, read


class _Aggregation(Struct, frozen=True):
    formula: str


class _Key(Struct, frozen=True):
    event_payload_key: str


class ListedMeter(Struct, frozen=True, kw_only=True):
    """An active one, as far as it matters to who tells it something."""

    id: str
    event_name: str
    default_aggregation: _Aggregation
    customer_mapping: _Key
    value_settings: _Key
    event_time_window: str | None = None

    @property
    def unfit(self) -> str:
        """Why it cannot be told raw amounts that it adds up; empty: it can."""
        formula = self.default_aggregation.formula
        if formula != "sum":
            return f"Stripe's meter does not add up, its formula is {formula!r}; it must be 'sum'"
        if self.event_time_window:
            return "Stripe's meter keeps one event of each window; it must take them raw"
        return ""


async def list_meters(stripe: StripeApi) -> Mapping[str, ListedMeter | UnreadableObject]:
    """Active meters by what their events are called; of one that cannot be read, why.

    Raises:
        StripeUnavailable, StripeKeyRefused, StripeRefused: nobody can tell.
    """
    found: dict[str, ListedMeter | UnreadableObject] = {}
    async for meter in stripe.pages("/v1/billing/meters", status="active"):
        found[str(meter.get("event_name"))] = _read(meter)
    return found


def _read(meter: Json) -> ListedMeter | UnreadableObject:
    try:
        return read(meter, ListedMeter)
    except UnreadableObject as error:
        return error

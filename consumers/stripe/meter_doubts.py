"""Finds out whether Stripe has what it may have forgotten the identifier of."""

from collections.abc import Sequence

from ledger.db import Connection
from ledger.stripe.api import StripeApi
from ledger.stripe.meters import Fate, MeterEvent
from ledger.stripe.summaries import Sent, hours_at_stripe, hours_sent
from ledger.verification import HOUR

Told = tuple[MeterEvent, Fate, str]  # what became of an event, and why


async def resolve(
    ledger: Connection, stripe: StripeApi, meter_id: str, events: Sequence[MeterEvent]
) -> tuple[Sequence[MeterEvent], Sequence[Told]]:
    """Look for events in Stripe's sums of their hours.

    Args:
        ledger: What Stripe took for certain.
        stripe: Whom to ask.
        meter_id: Stripe's.
        events: Of this meter and one customer, one of each hour, oldest first.

    Returns:
        Those that Stripe does not have, and what became of others. Of one that is in
        neither, Stripe's sum may not be complete yet.

    Raises:
        StripeUnavailable, StripeKeyRefused, StripeRefused, UnreadableObject: nobody can tell.
    """
    first, hours = events[0], (events[0].hour, events[-1].hour + HOUR)
    there = await hours_at_stripe(stripe, meter_id, first.customer, *hours)
    known = await hours_sent(ledger, first.event_name, first.customer, *hours)
    missing: list[MeterEvent] = []
    told: list[Told] = []
    for event in events:
        has, sent = there.get(event.hour, 0), known.get(event.hour, Sent())
        if has == sent.amount:
            missing.append(event)
        elif has == sent.amount + event.amount:
            told.append((event, "sent", ""))
        elif sent.settled:
            told.append((event, "parked", _unclear(event, has, sent.amount)))
    return missing, told


def _unclear(event: MeterEvent, has: int, sent: int) -> str:
    return (
        f"nobody knows whether Stripe has it: its sum of the hour is {has:,}, where {sent:,} "
        f"without it, or {sent + event.amount:,} with it, was expected"
    )

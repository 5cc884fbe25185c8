"""Compares what the ledger has, what Stripe was to be told of it, and what Stripe has."""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Final

from events.audits import Finding
from ledger.db import Connection
from ledger.errors import StripeError, UnreadableObject
from ledger.stripe import meters, summaries
from ledger.stripe.api import StripeApi
from ledger.stripe.meter_list import list_meters
from ledger.stripe.summaries import Sent, Told
from ledger.verification import HOUR, MOST, full_hour

LATE: Final = 2 * HOUR  # frozen for so long and not sent: somebody should know


async def compare_meters(
    ledger: Connection,
    stripe: StripeApi | None,
    since: datetime,
    until: datetime,
    *,
    customers: int | None = None,
) -> Sequence[Finding]:
    """Find out what of the meters does not fit, in the hours from `since` on.

    Args:
        ledger: With patience for long queries.
        stripe: Whom to ask; None: nobody is asked.
        since: The first instant that counts.
        until: The first that no longer does.
        customers: Ask for so many at random, each of one meter; None: for all.
    """
    # hours that go on were never told of, and Stripe is not asked about the future; of what is
    # no longer kept nobody knows
    kept_since = full_hour(datetime.now(UTC) - meters.KEPT) + HOUR
    hours = (
        max(full_hour(since), kept_since),
        min(full_hour(until) + HOUR, full_hour(datetime.now(UTC))),
    )
    found = [
        Finding(
            kind="metered" if one.begun else "untold",
            what=f"meter {one.event_name}, account {one.account_id}, hour {one.hour:%Y-%m-%d %H:%M}"
            f": totals say {one.used:,}, what Stripe is told adds up to {one.frozen:,}",
        )
        for one in await summaries.find_not_frozen(ledger, *hours, limit=MOST)
    ]
    found += [
        Finding(
            kind="untold",
            what=f"{one.fate} meter event {one.identifier}, {one.amount:,} {one.event_name} of "
            f"{one.customer}, hour {one.hour:%Y-%m-%d %H:%M}: {one.reason or 'not sent yet'}",
        )
        for one in await meters.find_unsent(ledger, datetime.now(UTC) - LATE, MOST)
    ]
    if stripe is not None:
        told = await summaries.find_told(ledger, *hours, limit=customers)
        found += [finding async for finding in _differences(ledger, stripe, told, hours)]
    return found


async def _differences(
    ledger: Connection,
    stripe: StripeApi,
    told: Sequence[Told],
    hours: tuple[datetime, datetime],
) -> AsyncIterator[Finding]:
    """Where Stripe has something else than it was told."""
    if not told:
        return
    try:
        known = await list_meters(stripe)
        for one in told:
            meter = known.get(one.event_name)
            if meter is None:
                what = f"Stripe has no active meter {one.event_name}, and {one.amount:,} were told"
                yield Finding(kind="stripe", what=f"{what} of {one.customer}")
                continue
            try:
                if isinstance(meter, UnreadableObject):
                    raise meter
                async for finding in _difference(ledger, stripe, meter.id, one, hours):
                    yield finding
            except UnreadableObject as error:  # of this one; Stripe may be clear about others
                what = f"meter {one.event_name}, customer {one.customer}: {error}"
                yield Finding(kind="untold", what=what)
    except StripeError as error:
        yield Finding(kind="untold", what=f"Stripe could not be compared with: {error}")


async def _difference(
    ledger: Connection,
    stripe: StripeApi,
    meter_id: str,
    told: Told,
    hours: tuple[datetime, datetime],
) -> AsyncIterator[Finding]:
    there = await summaries.sum_at_stripe(stripe, meter_id, told.customer, *hours)
    if there == told.amount:
        return
    name = f"meter {told.event_name}, customer {told.customer}"
    if not told.settled:
        what = f"Stripe has {there:,} of {told.amount:,}, and may still add up what came last"
        yield Finding(kind="untold", what=f"{name}: {what}")
        return
    sent = await summaries.hours_sent(ledger, told.event_name, told.customer, *hours)
    had = await summaries.hours_at_stripe(stripe, meter_id, told.customer, *hours)
    for hour in sorted(sent.keys() | had.keys()):
        amount = sent.get(hour, Sent()).amount
        if amount != had.get(hour, 0):
            what = f"Stripe was told {amount:,} and has {had.get(hour, 0):,}"
            yield Finding(kind="stripe", what=f"{name}, hour {hour:%Y-%m-%d %H:%M}: {what}")

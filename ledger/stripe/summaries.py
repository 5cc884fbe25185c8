"""What Stripe's meters say that they were told, and what they were told.

Stripe adds up on its own time: a sum may lack what was sent minutes ago.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, Literal
from uuid import UUID

from msgspec import Meta, Struct

from ledger import _sql
from ledger.db import Connection
from ledger.stripe.api import StripeApi, read
from ledger.stripe.standing import Seconds
from ledger.verification import PATIENCE_S

_SQL = _sql.load("summaries.sql")

#: How long Stripe may take to add up; it states no bound.
SETTLED: Final = timedelta(minutes=10)


class _Summary(Struct, frozen=True):
    start_time: Seconds
    aggregated_value: Annotated[float, Meta(ge=-(2**53), le=2**53)]  # exact as far as that


class Sent(Struct, frozen=True):
    """What Stripe took of an hour, and whether so long ago that it must be in its sum."""

    amount: int = 0
    settled: bool = True


class NotFrozen(Struct, frozen=True, kw_only=True):
    """An hour whose total is not what was frozen of it, though nothing was folded since."""

    event_name: str
    account_id: UUID
    hour: datetime
    used: int
    frozen: int
    begun: bool  # something is frozen of this account; else it may be a customer since just now


class Told(Struct, frozen=True, kw_only=True):
    """What one of Stripe's meters was told of one customer."""

    event_name: str
    customer: str
    amount: int
    settled: bool  # nothing is under way, and nothing was so lately that it may lack


async def sum_at_stripe(
    stripe: StripeApi, meter_id: str, customer: str, since: datetime, until: datetime
) -> int:
    """What one of Stripe's meters adds up to, from one full hour to another.

    Raises:
        StripeUnavailable, StripeKeyRefused, StripeRefused, UnreadableObject: nobody can tell.
    """
    return sum((await _summaries(stripe, meter_id, customer, since, until, None)).values())


async def hours_at_stripe(
    stripe: StripeApi, meter_id: str, customer: str, since: datetime, until: datetime
) -> dict[datetime, int]:
    """The same by hour, those in which there is anything. Raises as `sum_at_stripe`."""
    return await _summaries(stripe, meter_id, customer, since, until, "hour")


async def _summaries(  # noqa: PLR0917 - the five of Stripe's own, in its order
    stripe: StripeApi,
    meter_id: str,
    customer: str,
    since: datetime,
    until: datetime,
    window: Literal["hour"] | None,
) -> dict[datetime, int]:
    params = {"value_grouping_window": window} if window else {}
    summaries = [
        read(one, _Summary)
        async for one in stripe.pages(
            f"/v1/billing/meters/{meter_id}/event_summaries",
            customer=customer,
            start_time=int(since.timestamp()),
            end_time=int(until.timestamp()),
            **params,
        )
    ]
    return {
        datetime.fromtimestamp(one.start_time, UTC): int(one.aggregated_value)
        for one in summaries
        if one.aggregated_value
    }


async def find_not_frozen(
    connection: Connection, since: datetime, until: datetime, *, limit: int
) -> Sequence[NotFrozen]:
    """Hours that were closed at the last look, and of which Stripe is told something else."""
    rows = await connection.fetch(_SQL["not_frozen"], since, until, limit, timeout=PATIENCE_S)
    return [NotFrozen(**{**row, "used": int(row["used"])}) for row in rows]


async def find_told(
    connection: Connection, since: datetime, until: datetime, *, limit: int | None
) -> Sequence[Told]:
    """What was told of each customer in some hours; of all, or of so many at random."""
    rows = await connection.fetch(
        _SQL["told"], since, until, datetime.now(UTC) - SETTLED, limit, timeout=PATIENCE_S
    )
    return [Told(**row) for row in rows]


async def hours_sent(
    connection: Connection, event_name: str, customer: str, since: datetime, until: datetime
) -> dict[datetime, Sent]:
    """What a meter was told for certain of a customer, by hour."""
    rows = await connection.fetch(
        _SQL["hours_sent"],
        event_name,
        customer,
        since,
        until,
        datetime.now(UTC) - SETTLED,
        timeout=PATIENCE_S,
    )
    return {row["hour"]: Sent(row["amount"], row["settled"]) for row in rows}

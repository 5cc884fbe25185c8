"""When a billing period ends: the n-th month after its anchor, not a month after the last."""

import calendar
from datetime import UTC, datetime, timedelta

from tests.stripe.routes import Json

DAYS = {"day": 1, "week": 7}
MONTHS = {"month": 1, "year": 12}


def next_end(anchor: int, after: int, recurring: Json) -> int:
    """The first end of a period that is later than a time."""
    number = 1
    while (
        end := _end(anchor, number * recurring["interval_count"], recurring["interval"])
    ) <= after:
        number += 1
    return end


def _end(anchor: int, count: int, interval: str) -> int:
    start = datetime.fromtimestamp(anchor, UTC)
    if interval in DAYS:
        return int((start + timedelta(days=count * DAYS[interval])).timestamp())
    years, month = divmod(start.month - 1 + count * MONTHS[interval], 12)
    last = calendar.monthrange(start.year + years, month + 1)[1]
    end = start.replace(year=start.year + years, month=month + 1, day=min(start.day, last))
    return int(end.timestamp())

"""How old a usage event may be, and for how long it is kept.

The ages follow from one another, the youngest first::

    the stream's < LATE < COMPRESSED < REFRESHED < Retention.kept

An event is folded until it is LATE: so none comes to a chunk that is compressed, and none
to a range that is not refreshed any more. And a range is not refreshed any more when its
raw events are dropped: a refresh would find nothing there, and remember that. REFRESHED is
the same for every retention, for one that is made longer finds the older events gone.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final
from uuid import UUID

from msgspec import Meta, Struct

from events.ids import milliseconds_of
from events.usage import UsageEvent
from ledger.errors import RefusedByLedger

STREAM_DAYS: Final = 30  # the most that `tollgate migrate` lets the stream keep
LATE: Final = timedelta(days=STREAM_DAYS + 1)
EARLY: Final = timedelta(days=1)  # a clock that is further ahead makes chunks of days to come
COMPRESSED: Final = LATE + timedelta(days=2)  # two clocks differ, and a batch takes its time
REFRESHED: Final = COMPRESSED + timedelta(days=4)  # for jobs that did not run for some days
LEAST_DAYS: Final = REFRESHED.days + 3  # three chunks between what is refreshed and what goes
DEFAULT_DAYS: Final = 90

Days = Annotated[int, Meta(ge=LEAST_DAYS, le=3_650)]


class Retention(Struct, frozen=True):
    """When raw events and their minutes go. Hours, days, months and totals stay."""

    days: Days = DEFAULT_DAYS

    @property
    def kept(self) -> timedelta:
        """The age at which a day is dropped as a whole."""
        return timedelta(days=self.days)


DEFAULT: Final = Retention()


def refuse_untimely(events: Sequence[UsageEvent], now: datetime) -> None:
    """Refuse what is too old to be known when it comes again, and what is of the future.

    Raises:
        RefusedByLedger: an event is, or its id holds no time.
    """
    first, last = _milliseconds(now - LATE), _milliseconds(now + EARLY)
    times = [event.data.request_id.int >> 80 for event in events]  # not yet known to be times
    if times and (min(times) < first or max(times) > last):
        for event in events:
            _refuse(event.data.request_id, first, last)


def _refuse(request_id: UUID, first: int, last: int) -> None:
    try:
        milliseconds = milliseconds_of(request_id)
    except (ValueError, OverflowError) as error:
        raise RefusedByLedger(str(error)) from error
    when = f"{datetime.fromtimestamp(milliseconds / 1_000, UTC):%Y-%m-%d %H:%M}"
    if milliseconds < first:
        raise RefusedByLedger(f"{request_id} is of {when}, more than {LATE.days} days ago")
    if milliseconds > last:
        raise RefusedByLedger(f"{request_id} is of {when}, more than {EARLY.days} day from now")


def _milliseconds(time: datetime) -> int:
    return int(time.timestamp() * 1_000)

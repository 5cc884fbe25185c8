"""Windows of time in which limits count: calendar minutes, hours, days and months, in UTC.

A request belongs to the window that its id's time falls into, from `start_ms` up to
and not including `end_ms`: at a boundary nothing is shared and nothing is carried
over, and the ledger, which has the ids, can count the same windows again.
"""

from datetime import UTC, datetime
from typing import Final, Literal, get_args

from msgspec import Struct

Window = Literal["minute", "hour", "day", "month"]

WINDOWS: Final[tuple[Window, ...]] = get_args(Window)

_FIXED_MS: Final = {"minute": 60_000, "hour": 3_600_000, "day": 86_400_000}


class Span(Struct, frozen=True):
    """One window, in Unix milliseconds."""

    start_ms: int
    end_ms: int  # the first instant that no longer belongs to it

    @property
    def seconds(self) -> int:
        """How long it is."""
        return (self.end_ms - self.start_ms) // 1_000


EVER: Final = Span(0, 2**48)  # for what no window resets: all the time that an id can hold


def span(window: Window, at_ms: int) -> Span:
    """The window that `at_ms`, in Unix milliseconds, falls into."""
    if length := _FIXED_MS.get(window):
        start = at_ms - at_ms % length
        return Span(start, start + length)
    at = datetime.fromtimestamp(at_ms // 1_000, UTC)
    start_month = datetime(at.year, at.month, 1, tzinfo=UTC)
    end_month = datetime(at.year + at.month // 12, at.month % 12 + 1, 1, tzinfo=UTC)
    return Span(_milliseconds(start_month), _milliseconds(end_month))


def _milliseconds(time: datetime) -> int:
    return int(time.timestamp()) * 1_000

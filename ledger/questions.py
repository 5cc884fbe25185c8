"""Reading what somebody wants to know of usage into a question that can be answered.

Ranges are of whole buckets: `from` goes back to the start of its bucket, `to` on to the
end of its own. So a bucket that is returned is always all of it.
"""

import base64
import binascii
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, get_args

import msgspec
from msgspec import Struct

from events.units import Quantity
from ledger.errors import BadQuestion
from ledger.reports import Bucket, Group, Position, Question

MAX_BUCKETS: Final = 10_000  # in a range: a year of hours, and longer than anybody keeps days
MAX_ROWS: Final = 1_000  # of a page
OF_EVENTS: Final = timedelta(days=1)  # the longest range for what only the events know
BEGINNING: Final = datetime(2000, 1, 1, tzinfo=UTC)
END: Final = datetime(2200, 1, 1, tzinfo=UTC)

_USUAL: Final = {"minute": 60, "hour": 48, "day": 31, "month": 13, "year": 10}  # buckets
_LENGTHS: Final = {
    "minute": timedelta(minutes=1),
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
}
_MONTHS: Final = {"month": 1, "year": 12}


class Wanted(Struct, frozen=True, kw_only=True):
    """What somebody said; as `Question`, but for what is explained here."""

    bucket: Bucket = "day"
    since: datetime | None = None  # any instant, UTC where it has no offset; None: some buckets ago
    until: datetime | None = None  # None: with the bucket that is now
    group_by: Sequence[str] = ()
    keys: Sequence[str] = ()
    models: Sequence[str] = ()
    tasks: Sequence[str] = ()
    statuses: Sequence[int] = ()
    latency: bool = False
    top: Quantity | None = None
    page: str | None = None  # where to go on: what `write_page` wrote
    limit: int = 100


def read_question(wanted: Wanted, *, now: datetime) -> Question:
    """Fill in what is not said, and refuse what cannot be meant; of no account yet.

    Raises:
        BadQuestion: with the parameter at fault.
    """
    first, before = _range(wanted, now)
    for param, names in (("key", wanted.keys), ("model", wanted.models), ("task", wanted.tasks)):
        if any("\0" in name for name in names):
            raise BadQuestion(param, "a name has no NUL characters (U+0000)")
    if not all(100 <= status <= 599 for status in wanted.statuses):  # noqa: PLR2004 - HTTP's
        raise BadQuestion("status", "a status is a number from 100 to 599")
    if wanted.top is not None and wanted.page is not None:
        raise BadQuestion("page", "the largest come on one page: leave out `page`, or `top`")
    if not 1 <= wanted.limit <= MAX_ROWS:
        raise BadQuestion("limit", f"a page has 1 to {MAX_ROWS:,} rows")
    return Question(
        account_id=None,
        bucket=wanted.bucket,
        since=first,
        until=before,
        group_by=_groups(wanted.group_by),
        keys=wanted.keys,
        models=wanted.models,
        tasks=wanted.tasks,
        statuses=wanted.statuses,
        latency=wanted.latency,
        top=wanted.top,
        after=None if wanted.page is None else read_page(wanted.page),
        limit=wanted.limit,
    )


def _range(wanted: Wanted, now: datetime) -> tuple[datetime, datetime]:
    bucket = wanted.bucket
    until = _known("to", wanted.until or now)
    before = _end(bucket, until)
    if wanted.since is None:
        since = first = _back(bucket, before, _usual(bucket, latency=wanted.latency))
    else:
        since = _known("from", wanted.since)
        first = _start(bucket, since)
    if since >= until:
        raise BadQuestion("from", "`from` must be before `to`")
    if (number := _count(bucket, first, before)) > MAX_BUCKETS:
        message = f"that is {number:,} buckets, and {MAX_BUCKETS:,} is the most: "
        raise BadQuestion("from", f"{message}ask for a shorter range, or for longer buckets")
    if (bucket == "minute" or wanted.latency) and before - first > OF_EVENTS:
        what = "latencies" if wanted.latency else "minutes"
        message = f"{what} are read from the events themselves: ask for a day of them at most"
        raise BadQuestion("from", message)
    return first, before


def write_page(position: Position) -> str:
    """A position as text that a caller need not understand."""
    return base64.urlsafe_b64encode(msgspec.json.encode(position)).decode().rstrip("=")


def read_page(page: str) -> Position:
    """Read what `write_page` wrote.

    Raises:
        BadQuestion: it did not write that.
    """
    message = "this is not what `next_page` said; begin again without it"
    try:
        padded = page + "=" * (-len(page) % 4)
        text = base64.b64decode(padded, altchars=b"-_", validate=True)
        position = msgspec.json.decode(text, type=Position)
    except (binascii.Error, ValueError, msgspec.DecodeError) as error:
        raise BadQuestion("page", message) from error
    names = (position.account_id, position.key_id, position.model, position.task)
    if any("\0" in name for name in names) or abs(position.status) >= 2**31:
        raise BadQuestion("page", message)
    _known("page", position.bucket)
    return position


def _usual(bucket: Bucket, *, latency: bool) -> int:
    """How many buckets are meant where nobody says it."""
    if latency and bucket in _LENGTHS:
        return min(_USUAL[bucket], OF_EVENTS // _LENGTHS[bucket])
    return _USUAL[bucket]


def _groups(names: Sequence[str]) -> Sequence[Group]:
    known = get_args(Group)
    for name in names:
        if name not in known:
            message = f"there is no group {name[:64]!r}; there are: {', '.join(known)}"
            raise BadQuestion("group_by", message)
    return [name for name in known if name in names]


def _utc(time: datetime) -> datetime:
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def _known(param: str, time: datetime) -> datetime:
    """The time in UTC, if usage can be of it.

    Raises:
        BadQuestion: it cannot.
    """
    try:
        found = _utc(time)
    except OverflowError:  # its offset takes it out of the calendar
        found = END
    if not BEGINNING <= found < END:
        raise BadQuestion(param, f"a time from {BEGINNING:%Y} until {END:%Y} is expected")
    return found


def _start(bucket: Bucket, time: datetime) -> datetime:
    """The start of the bucket that a time is in."""
    if bucket in _MONTHS:
        month = time.month if bucket == "month" else 1
        return datetime(time.year, month, 1, tzinfo=UTC)
    return time - (time - BEGINNING) % _LENGTHS[bucket]


def _end(bucket: Bucket, time: datetime) -> datetime:
    """The first start of a bucket from a time on."""
    start = _start(bucket, time)
    return start if start == time else _back(bucket, start, -1)


def _back(bucket: Bucket, start: datetime, buckets: int) -> datetime:
    """The start of the bucket that is so many before."""
    if bucket in _LENGTHS:
        return start - buckets * _LENGTHS[bucket]
    year, month = divmod(start.year * 12 + start.month - 1 - buckets * _MONTHS[bucket], 12)
    return datetime(year, month + 1, 1, tzinfo=UTC)


def _count(bucket: Bucket, first: datetime, before: datetime) -> int:
    """How many buckets there are from one start to another."""
    if bucket in _LENGTHS:
        return (before - first) // _LENGTHS[bucket]
    months = (before.year - first.year) * 12 + before.month - first.month
    return months // _MONTHS[bucket]

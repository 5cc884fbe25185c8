"""What an edition of TimescaleDB has beyond the migrations.

The migrations make the same tables and views everywhere. The rest is arranged after them,
at every `tollgate migrate`: an edition may change without one, and so may the retention.
"""

from datetime import timedelta
from typing import Any, Final

import psycopg
from msgspec import Struct

from ledger import _sql, editions
from ledger.ages import COMPRESSED, REFRESHED, Retention
from ledger.editions import Edition

_APACHE: Final = _sql.load("apache/usage_views.sql")
_COMMUNITY: Final = _sql.load("community/usage_views.sql")
_POLICIES: Final = _sql.load("community/policies.sql")

LOCK_WAIT: Final = "3s"  # whoever waits for a lock on the events keeps the fold waiting
REFRESH_WAIT: Final = "60s"  # for another refresh, which keeps nobody waiting
YEAR: Final = timedelta(days=365)

Session = psycopg.Connection[Any]


class Refresh(Struct, frozen=True, kw_only=True):
    """How a continuous aggregate is kept up to date.

    What is newer than `end` is added up when it is asked for, so it is as fresh as the
    aggregate below. What came later than that is seen after a refresh.
    """

    aggregate: str
    source: str
    unit: str
    start: timedelta
    end: timedelta
    every: timedelta
    batch: int  # buckets of one transaction


# Raw events and minutes are dropped, so that their ranges must not be made anew; hours and
# days are not: there a year bridges whatever may keep the jobs from running.
REFRESHES: Final = (
    Refresh(
        aggregate="usage_minutes",
        source="usage_events",
        unit="minute",
        start=REFRESHED,
        end=timedelta(hours=1),
        every=timedelta(minutes=10),
        batch=1_440,
    ),
    Refresh(
        aggregate="usage_hours",
        source="usage_minutes",
        unit="hour",
        start=REFRESHED,
        end=timedelta(days=1),
        every=timedelta(hours=1),
        batch=24,
    ),
    Refresh(
        aggregate="usage_days",
        source="usage_hours",
        unit="day",
        start=YEAR,
        end=timedelta(days=2),
        every=timedelta(hours=6),
        batch=366,
    ),
    Refresh(
        aggregate="usage_months",
        source="usage_days",
        unit="month",
        start=YEAR,
        end=timedelta(days=31),
        every=timedelta(hours=12),
        batch=13,
    ),
)
DROPPED: Final = ("usage_events", "usage_minutes")
# minutes are refreshed for longer than events come, and a refresh is to find them writable
COMPRESSED_AFTER: Final = {
    "usage_events": COMPRESSED,
    "usage_minutes": REFRESHED + timedelta(days=1),
}


def arrange(session: Session, retention: Retention) -> Edition:
    """Make what the edition has beyond the migrations; changes nothing twice.

    Args:
        session: With autocommit, because a refresh has transactions of its own.
        retention: For policies, where there are any.
    """
    session.execute(f"SET lock_timeout = '{LOCK_WAIT}'")
    edition = _find_edition(session)
    if edition is Edition.APACHE:
        session.execute(_APACHE["view_usage_by_minute"])
    if edition is Edition.COMMUNITY:
        for refresh in REFRESHES:
            _aggregate(session, refresh)
        _policies(session, retention)
    return edition


def _find_edition(session: Session) -> Edition:
    extension = session.execute(editions.SQL["find_extension"]).fetchone()
    if extension is None:
        return Edition.PLAIN
    hypertable = session.execute(editions.SQL["find_hypertable"]).fetchone() == (1,)
    return Edition.of(extension[0], hypertable=hypertable)


def _aggregate(session: Session, refresh: Refresh) -> None:
    """Make an aggregate, add up what is there, and have it kept up to date.

    In this order: the policy goes no further back than its window, and whatever is older
    than that and not added up by then is never seen again.
    """
    for statement in ("make", "index"):
        session.execute(_COMMUNITY[f"{statement}_{refresh.aggregate}"])
    _add_up(session, refresh)
    window = {
        "aggregate": refresh.aggregate,
        "start": refresh.start,
        "end": refresh.end,
        "every": refresh.every,
        "batch": refresh.batch,
    }
    with session.transaction():
        if session.execute(_POLICIES["find_same_refresh"], window).fetchone() is None:
            session.execute(_POLICIES["remove_refresh"], window)
            session.execute(_POLICIES["add_refresh"], window)
    session.execute(_COMMUNITY[f"view_usage_by_{refresh.unit}"])


def _add_up(session: Session, refresh: Refresh) -> None:
    """Refresh all that the source still has: at first, and after jobs did not run for long."""
    first = None
    if refresh.source in DROPPED:
        asked = {"source": refresh.source, "end": refresh.end}
        row = session.execute(_POLICIES["find_oldest_chunk"], asked).fetchone()
        if row is None:
            return
        first = row[0]
    session.execute(f"SET lock_timeout = '{REFRESH_WAIT}'")
    session.execute(_POLICIES["refresh"], [refresh.aggregate, first, refresh.end])
    session.execute(f"SET lock_timeout = '{LOCK_WAIT}'")


def _policies(session: Session, retention: Retention) -> None:
    """Have old chunks compressed and dropped."""
    for table, after in COMPRESSED_AFTER.items():
        old: dict[str, Any] = {"table": table, "after": after}
        with session.transaction():
            if session.execute(_POLICIES["find_columnstore"], old).fetchone() != (True,):
                session.execute(_COMMUNITY[f"compress_{table}"])
            if session.execute(_POLICIES["find_same_columnstore"], old).fetchone() is None:
                session.execute(_POLICIES["remove_columnstore"], old)
                session.execute(_POLICIES["add_columnstore"], old)
    for table in DROPPED:
        passed = {"table": table, "after": retention.kept}
        with session.transaction():
            if session.execute(_POLICIES["find_same_retention"], passed).fetchone() is None:
                session.execute(_POLICIES["remove_retention"], passed)
                session.execute(_POLICIES["add_retention"], passed)

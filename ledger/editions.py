"""Which edition of TimescaleDB holds the usage events, if any."""

from enum import StrEnum
from typing import Final

from ledger import _sql
from ledger.db import Connection

SQL: Final = _sql.load("editions.sql")


class Edition(StrEnum):
    """What the usage events are stored in."""

    PLAIN = "plain"  # PostgreSQL: no chunks
    APACHE = "apache"  # chunks; whatever is to happen to them is for us to do
    COMMUNITY = "community"  # policies, continuous aggregates, compression

    @classmethod
    def of(cls, license_: str | None, *, hypertable: bool) -> "Edition":
        """The edition of a database.

        Args:
            license_: TimescaleDB's setting; None without its extension.
            hypertable: Whether the events are in one: the extension may have come later.
        """
        if license_ is None or not hypertable:
            return cls.PLAIN
        return cls.APACHE if license_ == "apache" else cls.COMMUNITY


async def find_edition(connection: Connection) -> Edition:
    """The edition of the database that a connection leads to."""
    license_ = await connection.fetchval(SQL["find_extension"])
    hypertable = license_ is not None and await connection.fetchval(SQL["find_hypertable"])
    return Edition.of(license_, hypertable=bool(hypertable))

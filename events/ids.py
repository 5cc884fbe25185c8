"""Request ids: UUIDv7, minted by the edge, the idempotency key all the way down."""

from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from uuid_utils.compat import uuid7

__all__ = ["new_id", "time_of"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def new_id() -> UUID:
    """A new UUIDv7: ordered by time, to the millisecond."""
    return uuid7()


def time_of(identifier: UUID) -> datetime:
    """The time in a UUIDv7, in UTC and to the millisecond.

    The ledger's key needs a time column, and a repeat must bring the same time:
    so the time is the id's, never a clock's.

    Raises:
        ValueError: the UUID is of another version, and holds no such time.

    Source: RFC 9562, section 5.7.
    """
    if identifier.version != 7:  # noqa: PLR2004 - the version's own number
        message = f"{identifier} is not a UUID of version 7"
        raise ValueError(message)
    # timedelta, not fromtimestamp: integers all the way, no rounding by a float
    return _EPOCH + timedelta(milliseconds=identifier.int >> 80)

"""Request ids: UUIDv7, minted by the edge, the idempotency key all the way down."""

import secrets
import time
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID, SafeUUID

from uuid_utils import uuid7

__all__ = ["milliseconds_of", "new_id", "secret_id", "time_of"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_YEAR_10000: Final = 253_402_300_800_000
_UNKNOWN: Final = SafeUUID.unknown
_MARKS: Final = 0xF << 76 | 0b11 << 62  # where a UUID says its version and its variant
_VERSION_7: Final = 0x7 << 76 | 0b10 << 62


def new_id() -> UUID:
    """A new UUIDv7: ordered by time, to the millisecond."""
    # as uuid_utils.compat makes it, less an enum's look-up: a twentieth of a request
    made = object.__new__(UUID)
    object.__setattr__(made, "int", uuid7().int)
    object.__setattr__(made, "is_safe", _UNKNOWN)
    return made


def secret_id() -> UUID:
    """A new UUIDv7 that nobody can guess who has seen others: 74 bits are secret."""
    high = time.time_ns() // 1_000_000 << 16 | 0x7 << 12 | secrets.randbits(12)
    return UUID(int=high << 64 | 0b10 << 62 | secrets.randbits(62))


def milliseconds_of(identifier: UUID) -> int:
    """The time in a UUIDv7, in Unix milliseconds: quicker than `time_of`.

    Raises:
        ValueError: the UUID is of another version, and holds no such time.
        OverflowError: it is after the year 9999, where dates end.
    """
    number = identifier.int
    if number & _MARKS != _VERSION_7:
        message = f"{identifier} is not a UUID of version 7"
        raise ValueError(message)
    if (milliseconds := number >> 80) >= _YEAR_10000:
        message = f"{identifier} is of a year beyond 9999"
        raise OverflowError(message)
    return milliseconds


def time_of(identifier: UUID) -> datetime:
    """The time in a UUIDv7, in UTC and to the millisecond.

    The ledger's key needs a time column, and a repeat must bring the same time:
    so the time is the id's, never a clock's.

    Raises:
        ValueError: the UUID is of another version, and holds no such time.
        OverflowError: it is after the year 9999, where dates end.

    Source: RFC 9562, section 5.7.
    """
    # timedelta, not fromtimestamp: integers all the way, no rounding by a float
    return _EPOCH + timedelta(milliseconds=milliseconds_of(identifier))

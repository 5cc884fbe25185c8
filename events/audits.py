"""What a verification of usage came to."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, Literal

import msgspec
from msgspec import Struct

SUBJECTS: Final = "audits.>"
USAGE: Final = "audits.usage"

Kind = Literal[
    "missing", "double", "altered", "total", "parked", "unfolded", "metered", "untold", "stripe"
]


class Finding(Struct, frozen=True, kw_only=True):
    """One thing that is not as it should be, or not yet."""

    kind: Kind
    what: str  # for a person: what it is, and where
    number: int = 1  # of events that it is about


class UsageAudited(Struct, frozen=True, kw_only=True, tag_field="type", tag="usage.audited"):
    """The books of a time were compared with everything else that is known of it."""

    since: datetime
    until: datetime
    events: int  # in the ledger
    missing: int  # numbers that an edge gave, and that are nowhere
    double: int  # numbers that are there more than once
    findings: Sequence[Finding]
    timestamp: datetime

    @property
    def balanced(self) -> bool:
        """Whether nothing is wrong; what is parked, not yet folded or not yet told is known of."""
        return not any(one.kind not in {"parked", "unfolded", "untold"} for one in self.findings)


_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(UsageAudited)


def encode(event: UsageAudited) -> bytes:
    """The event as JSON."""
    return _encoder.encode(event)


def decode(message: bytes) -> UsageAudited:
    """Read an event.

    Raises:
        msgspec.DecodeError: it is not one.
    """
    return _decoder.decode(message)

"""Usage events for tests."""

from datetime import datetime
from itertools import count
from uuid import UUID

from events import usage
from events.ids import new_id
from events.usage import Numbered, Quantities, Usage, UsageRecorded, UsageVoided

EPOCH = new_id()
_sequence = count(1)


def a_usage(
    account_id: UUID | None = None, *, request_id: UUID | None = None, **quantities: int
) -> Usage:
    """What one request used, in the words of `Quantities`."""
    return Usage(
        request_id=request_id or new_id(),
        account_id=account_id or new_id(),
        key_id="0123456789",
        model="echo",
        task="echo",
        quantities=Quantities(**quantities),
    )


def an_id(at: datetime) -> UUID:
    """A request's id, as an edge would have minted it then."""
    milliseconds = int(at.timestamp() * 1_000)
    return UUID(int=(milliseconds << 80) | (new_id().int & ((1 << 80) - 1)))


def recorded(fact: Usage) -> UsageRecorded:
    return usage.recorded(fact, Numbered(epoch=EPOCH, sequence=next(_sequence)))


def voided(fact: Usage) -> UsageVoided:
    return usage.voided(fact, Numbered(epoch=EPOCH, sequence=next(_sequence)))

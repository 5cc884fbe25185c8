"""Usage facts: the edge states them, the ledger adds them up.

On the wire each fact is a CloudEvents 1.0 event in structured JSON, so that a
subscriber that knows nothing of Tollgate can still route and store it.
"""

from datetime import datetime
from typing import Annotated, Final, Literal
from uuid import UUID

import msgspec
from msgspec import Meta, Struct

from events.ids import time_of
from events.subjects import token

SUBJECTS: Final = "usage.v1.>"

Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]  # what PostgreSQL's bigint holds


class Quantities(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one request can be billed by. Counts are of what the model saw and said."""

    requests: Count = 1
    input_tokens: Count = 0  # after truncation, without padding
    output_tokens: Count = 0
    input_words: Count = 0
    output_words: Count = 0
    input_characters: Count = 0
    output_characters: Count = 0
    device_ms: Count = 0  # the request's share of its batch
    cost: Count = 0  # by the plan's prices of that moment, in billionths of the currency's unit
    errors: Count = 0  # requests that were refused or failed, in place of all the others
    translated_characters: Count = 0  # that a translator read, of the input and of the answer

    def since(self, before: "Quantities") -> "Quantities":
        """What was added to `before`.

        Raises:
            ValueError: something was taken away.
        """
        added = {
            name: getattr(self, name) - getattr(before, name) for name in self.__struct_fields__
        }
        if min(added.values()) < 0:
            raise ValueError("a quantity became less")
        return Quantities(**added)


NOTHING: Final = Quantities(requests=0)


class Usage(Struct, frozen=True, kw_only=True):
    """What was used, by whom: one finished request, or one part of a long stream."""

    request_id: UUID  # version 7, minted by the edge; its time is the row's time
    part: Annotated[int, Meta(ge=0, le=2**31 - 1)] = (
        0  # with request_id the idempotency key, all the way down
    )
    account_id: UUID
    key_id: str  # the key's public id
    model: str
    task: str
    status: Annotated[int, Meta(ge=100, le=599)] = 200  # as the caller saw it
    #: From the whole body to the whole answer, at the edge; 1 or more, and 0 for what is no
    #: answer: a part of a stream that is not its last, or errors.
    duration_ms: Count = 0
    quantities: Quantities
    plan: str = ""  # by which it was admitted; empty: not stated
    rates: dict[str, Count] = {}  # what one of each charged quantity costs, in billionths

    @property
    def started_at(self) -> datetime:
        """The request's time, from its id.

        Raises:
            ValueError: the id is not a UUIDv7.
        """
        return time_of(self.request_id)


class Numbered(Struct, frozen=True, kw_only=True):
    """Where in an edge's own count an event stands, so that a gap is a loss."""

    epoch: UUID  # one start of one edge process
    sequence: Annotated[int, Meta(ge=1, le=2**63 - 1)]  # gap-free within its epoch


_SOURCE: Final = "/edges/"


class _CloudEvent(Struct, frozen=True, kw_only=True, tag_field="type"):
    id: str  # <request id>.<part>, and .void of a void: unique, as CloudEvents asks
    source: Annotated[str, Meta(pattern=r"^/edges/[0-9a-f-]{36}$")]  # one start of one edge
    sequence: Annotated[int, Meta(ge=1, le=2**63 - 1)]  # CloudEvents' extension; no gaps, from 1
    time: datetime  # the request's, from its id
    data: Usage
    specversion: Literal["1.0"] = "1.0"

    @property
    def edge(self) -> Numbered:
        """Which edge stated it, and as its how-manieth.

        Raises:
            ValueError: the source ends in no UUID.
        """
        return Numbered(epoch=UUID(self.source[len(_SOURCE) :]), sequence=self.sequence)


class UsageRecorded(_CloudEvent, frozen=True, tag="tollgate.usage.recorded.v1"):
    """The request was answered: bill it."""


class UsageVoided(_CloudEvent, frozen=True, tag="tollgate.usage.voided.v1"):
    """Takes back a record that was stored although its caller was told otherwise.

    It repeats the record's quantities, so that a ledger subtracts them without
    having to look the record up: the two may arrive in any order.
    """


UsageEvent = UsageRecorded | UsageVoided

_encoder: Final = msgspec.json.Encoder()
_decoder: Final[msgspec.json.Decoder[UsageEvent]] = msgspec.json.Decoder(UsageEvent)


def subject(usage: Usage) -> str:
    """The subject that a usage event is published to."""
    return f"usage.v1.{usage.account_id}.{token(usage.model)}.{token(usage.task)}"


def subjects(*, account: UUID | None = None, model: str = "", task: str = "") -> str:
    """The subjects of some usage events, as a filter; what is not named may be any."""
    return (
        f"usage.v1.{account or '*'}.{token(model) if model else '*'}.{token(task) if task else '*'}"
    )


def recorded(usage: Usage, edge: Numbered) -> UsageRecorded:
    """State that `usage` is to be billed."""
    return UsageRecorded(
        id=f"{usage.request_id}.{usage.part}",
        source=f"{_SOURCE}{edge.epoch}",
        sequence=edge.sequence,
        time=usage.started_at,
        data=usage,
    )


def voided(usage: Usage, edge: Numbered) -> UsageVoided:
    """State that the record of `usage` does not count."""
    return UsageVoided(
        id=f"{usage.request_id}.{usage.part}.void",
        source=f"{_SOURCE}{edge.epoch}",
        sequence=edge.sequence,
        time=usage.started_at,
        data=usage,
    )


def encode(event: UsageEvent) -> bytes:
    """The event as JSON."""
    return _encoder.encode(event)


def decode(message: bytes) -> UsageEvent:
    """Read one usage event.

    Raises:
        msgspec.DecodeError: not JSON, or not such an event; the message says where.
        UnicodeDecodeError: not UTF-8.
    """
    return _decoder.decode(message)

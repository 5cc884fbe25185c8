"""How many usage events each edge has stated: its own count, to compare the ledger with."""

from typing import Annotated, Final
from uuid import UUID

import msgspec
from msgspec import Meta, Struct

SUBJECTS: Final = "edges.*"


class EdgeCounted(Struct, frozen=True, kw_only=True):
    """All numbers up to this one are stored events; stated every few seconds."""

    epoch: UUID  # one start of one edge process
    sequence: Annotated[int, Meta(ge=0)]

    @property
    def subject(self) -> str:
        """Where it is published."""
        return f"edges.{self.epoch}"


_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(EdgeCounted)


def encode(counted: EdgeCounted) -> bytes:
    """The count as JSON."""
    return _encoder.encode(counted)


def decode(message: bytes) -> EdgeCounted:
    """Read a count.

    Raises:
        msgspec.DecodeError: it is not one.
    """
    return _decoder.decode(message)

"""Writing a stream's last word on something, if nobody else has spoken meanwhile."""

from collections.abc import Mapping
from enum import IntEnum
from typing import Final

import msgspec
import nats.errors
from msgspec import Struct
from nats.aio.client import Client

WRITE_S: Final = 2.0

_EXPECTED: Final = "Nats-Expected-Last-Subject-Sequence"
_NO_HEADERS: Final[Mapping[str, str]] = {}


class _Code(IntEnum):
    WRONG_SEQUENCE = 10071
    FULL = 10077  # by bytes


class NotWritten(Exception):
    """The stream does not have it; or, with the plain class, nobody knows."""


class Overtaken(NotWritten):
    """It does not: somebody else has written since."""


class StreamFull(NotWritten):
    """It does not: there is no room."""


class _Error(Struct):
    err_code: int = 0
    description: str = ""


class _Ack(Struct):
    seq: int = 0
    error: _Error | None = None


async def write_entry(
    connection: Client,
    subject: str,
    value: bytes,
    *,
    after: int,
    headers: Mapping[str, str] = _NO_HEADERS,
) -> int:
    """Write an entry if the last one is still the one that was read.

    Args:
        connection: To the broker.
        subject: Of the entry.
        value: What it is to say.
        after: The sequence number of the one that was read; 0 where there was none.
        headers: More of them.

    Returns:
        Its sequence number.

    Raises:
        Overtaken, StreamFull, NotWritten: see there.
        nats.errors.MaxPayloadError: it is larger than the broker takes.
    """
    try:
        reply = await connection.request(
            subject, value, timeout=WRITE_S, headers={_EXPECTED: str(after), **headers}
        )
        ack = msgspec.json.decode(reply.data, type=_Ack)
    except nats.errors.MaxPayloadError:
        raise
    except (nats.errors.Error, OSError, TimeoutError, msgspec.DecodeError) as error:
        raise NotWritten(repr(error)) from error
    if ack.error is None:
        return ack.seq
    match ack.error.err_code:
        case _Code.WRONG_SEQUENCE:
            raise Overtaken(ack.error.description)
        case _Code.FULL:
            raise StreamFull(ack.error.description)
        case _:
            raise NotWritten(ack.error.description)

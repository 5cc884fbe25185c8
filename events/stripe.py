"""Stripe's events on the wire: the exact bytes that were signed, under their type."""

from typing import Any, Final

import msgspec
from msgspec import Struct

from events.subjects import token

SUBJECTS: Final = "stripe.>"
UNREADABLE: Final = "stripe.unreadable"  # signed, and yet not an event: parked, not lost


class _Data(Struct, frozen=True):
    object: dict[str, Any]


class StripeEvent(Struct, frozen=True):
    """The fields of an event that Tollgate reads; the rest is kept as it came."""

    id: str
    type: str
    created: int  # Unix seconds; whole ones, so two updates may share one
    data: _Data
    livemode: bool | None = None  # of test mode: false
    account: str | None = None  # whose, where it is of an account that is connected to ours


class _Typed(Struct, frozen=True):
    type: str


_event: Final = msgspec.json.Decoder(StripeEvent)
_typed: Final = msgspec.json.Decoder(_Typed)


def subject(body: bytes) -> str:
    """The subject for a signed body: ``stripe.`` and the event's dotted type."""
    try:
        kind = _typed.decode(body).type
        return "stripe." + ".".join(token(part) for part in kind.split("."))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError):
        return UNREADABLE


def decode(message: bytes) -> StripeEvent:
    """Read one event.

    Raises:
        msgspec.DecodeError: not JSON, or not an event of Stripe's.
        UnicodeDecodeError: not UTF-8.
        RecursionError: nested too deeply.
    """
    return _event.decode(message)

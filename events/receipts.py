"""Receipts: what one request used and what is charged for it, signed.

Whoever has one can show years later, to anybody who has the public key, what was said.
"""

import base64
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Final
from uuid import UUID

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import asdict

from events import jws
from events.errors import BadSigned, BadSigningKeys
from events.jws import SEED_BYTES, Keys, SigningKey

KIND: Final = "receipt+jwt"


class Facts(Struct, frozen=True, kw_only=True):
    """What is known of one request; of a stream as long as it runs, what it was until then."""

    request_id: UUID
    account: UUID
    key: str  # its public id
    model: str
    task: str
    status: int
    started_at: datetime  # when its first byte arrived: the time in its id
    recorded_at: datetime  # when the ledger had the last of it
    duration_ms: int | None  # None: it has not ended, or its end is not known
    parts: int  # that were added up; a stream has several
    billed: bool  # False: all of it was taken back, and nothing is charged
    quantities: dict[str, int]
    cost: str  # in the currency's unit: each quantity times its price, exactly
    plan: str | None  # by which it was admitted; None: the record does not say
    price_per_unit: dict[str, str] | None  # of what is charged, in the currency's unit; likewise


class Claims(Facts, frozen=True, kw_only=True):
    """The same, as somebody's word."""

    iss: str  # who says so
    iat: Annotated[int, Meta(ge=0, lt=2**37)]  # when, in Unix seconds


class Receipt(Struct, frozen=True):
    """One that was verified."""

    claims: Claims
    payload: bytes  # as signed: later versions may claim more
    kid: str


def issue(facts: Facts, key: SigningKey, *, issuer: str, now: float) -> str:
    """State facts so that anybody can verify it: a compact JWS."""
    claims = Claims(**asdict(facts), iss=issuer, iat=int(now))
    return key.sign(msgspec.json.encode(claims), KIND)


def verify(text: str, keys: Keys) -> Receipt:
    """Read a receipt that was signed with one of `keys`.

    Raises:
        BadSigned: it is none, or was changed.
        UnknownSigner: another key has signed it.
    """
    signed = jws.verify(text, KIND, keys)
    try:
        claims = msgspec.json.decode(signed.payload, type=Claims)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadSigned(f"it is signed, and no receipt: {error}") from error
    return Receipt(claims, signed.payload, signed.kid)


def read_signing_keys(text: str) -> Sequence[SigningKey]:
    """Private keys, comma-separated, each the base64 of 32 bytes; none in an empty text.

    Raises:
        BadSigningKeys: they are not; it says which, and nothing of what it is.
    """
    return [
        _signing_key(one.strip(), number)
        for number, one in enumerate(text.split(","), start=1)
        if one.strip()
    ]


def _signing_key(text: str, number: int) -> SigningKey:
    plain = text.translate(str.maketrans("-_", "+/")).rstrip("=")
    try:
        seed = base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except ValueError:
        seed = b""
    if len(seed) != SEED_BYTES:
        raise BadSigningKeys(number)
    return SigningKey(seed)

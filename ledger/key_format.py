"""What an API key looks like: ``tg_<public id>_<random><checksum>``.

Ten characters of base62 that may be shown and logged, 32 that are the secret, and
six of CRC-32 over everything before them: a mistyped key, or a string that a
scanner found, is told from a key without a look-up. Nothing here does I/O.
"""

import hmac
import re
import secrets
import string
import zlib
from typing import Final, NamedTuple

PREFIX: Final = "tg_"
_ALPHABET: Final = string.digits + string.ascii_uppercase + string.ascii_lowercase
_PAIRS: Final = [first + second for first in _ALPHABET for second in _ALPHABET]
_PUBLIC: Final = 10
_RANDOM: Final = 32  # 190 bits
_CHECKSUM: Final = 6  # 62**6 is above 2**32
_SHAPE: Final = re.compile(
    rf"{PREFIX}[0-9A-Za-z]{{{_PUBLIC}}}_[0-9A-Za-z]{{{_RANDOM + _CHECKSUM}}}"
)


class Minted(NamedTuple):
    """A new key; `plain` is shown to its owner once and kept nowhere."""

    plain: str
    public_id: str
    hash: bytes


def mint(secret: bytes) -> Minted:
    """A new random key, and its hash under the server's secret."""
    public = _random(_PUBLIC)
    body = f"{PREFIX}{public}_{_random(_RANDOM)}"
    plain = body + _checksum(body)
    return Minted(plain, public, digest(plain, secret))


def checksum_ok(plain: str) -> bool:
    """Whether this can be a key at all; about a microsecond."""
    return (
        _SHAPE.fullmatch(plain) is not None and _checksum(plain[:-_CHECKSUM]) == plain[-_CHECKSUM:]
    )


def public_id(plain: str) -> str:
    """The part that may be shown, of a key whose checksum is right."""
    return plain[len(PREFIX) : len(PREFIX) + _PUBLIC]


def digest(plain: str, secret: bytes) -> bytes:
    """HMAC-SHA256 of the key: 32 bytes, what the ledger keeps and looks up.

    Keyed, so that a stolen table cannot be searched for a key that was guessed, or
    found elsewhere. No slow hash: a key has 190 random bits, unlike a password.
    """
    return hmac.digest(secret, plain.encode(), "sha256")


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def _checksum(body: str) -> str:
    number = zlib.crc32(body.encode())
    number, low = divmod(number, len(_PAIRS))
    high, middle = divmod(number, len(_PAIRS))
    return _PAIRS[high] + _PAIRS[middle] + _PAIRS[low]

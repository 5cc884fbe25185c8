"""JSON Web Signatures, as far as we make them: compact, by Ed25519, and nothing else.

A library that knows every algorithm leaves it to whoever calls it to refuse the others;
here `none`, and a public key used as a shared secret, have no code that they could reach.

Sources: RFC 7515 (JWS), 7517 (key sets), 7638 (thumbprints), 8037 (Ed25519).
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from msgspec import Struct

from events.errors import BadKeySet, BadSigned, UnknownSigner

ALGORITHM: Final = "EdDSA"
SEED_BYTES: Final = 32

Keys = Mapping[str, Ed25519PublicKey]  # by their thumbprints


class PublicKey(Struct, frozen=True, kw_only=True):
    """What a signature is verified with, as a JWK."""

    kty: Literal["OKP"] = "OKP"
    crv: Literal["Ed25519"] = "Ed25519"
    x: str  # its 32 bytes in base64url
    kid: str  # its thumbprint
    use: Literal["sig"] = "sig"
    alg: Literal["EdDSA"] = "EdDSA"


class KeySet(Struct, frozen=True):
    """The keys of those whose word counts, as a JWK Set."""

    keys: Sequence[PublicKey]


class _Header(Struct, frozen=True, forbid_unknown_fields=True):  # so `crit` is refused, too
    alg: str
    kid: str
    typ: str


class SigningKey:
    """A private key.

    Args:
        seed: Its 32 bytes.
    """

    def __init__(self, seed: bytes) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        raw = self._key.public_key().public_bytes_raw()
        self.public = PublicKey(x=encode(raw), kid=thumbprint(raw))

    def sign(self, payload: bytes, kind: str) -> str:
        """A payload of some kind, signed."""
        header = msgspec.json.encode(_Header(ALGORITHM, self.public.kid, kind))
        signed = f"{encode(header)}.{encode(payload)}"
        return f"{signed}.{encode(self._key.sign(signed.encode()))}"


class Signed(Struct, frozen=True):
    """What somebody did sign, and with which key."""

    payload: bytes
    kid: str


def verify(text: str, kind: str, keys: Keys) -> Signed:
    """See that one of `keys` signed this, as that kind.

    Raises:
        BadSigned: it is not of this form, or was changed.
        UnknownSigner: it may be, and none of these keys signed it.
    """
    parts = text.split(".")
    try:
        header, payload, signature = map(decode, parts)
        said = msgspec.json.decode(header, type=_Header)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise BadSigned("this is not a signed text of the form header.payload.signature") from error
    if said.alg != ALGORITHM:
        raise BadSigned(f"it says that it is signed by {said.alg[:32]!r}, not by {ALGORITHM}")
    if said.typ != kind:
        raise BadSigned(f"it is of type {said.typ[:32]!r}, not {kind!r}")
    if (key := keys.get(said.kid)) is None:
        raise UnknownSigner(said.kid[:64])
    try:
        key.verify(signature, ".".join(parts[:2]).encode())
    except InvalidSignature as error:
        raise BadSigned("the signature is wrong: it was changed after it was signed") from error
    return Signed(payload, said.kid)


def read_keys(text: bytes) -> Keys:
    """The Ed25519 keys of a JWK Set; others are passed over.

    Raises:
        BadKeySet: it is none, or has no such key.
    """
    keys = {}
    try:
        for found in msgspec.json.decode(text, type=_AnyKeySet).keys:
            if (found.get("kty"), found.get("crv")) == ("OKP", "Ed25519"):
                raw = decode(str(found.get("x")))
                keys[thumbprint(raw)] = Ed25519PublicKey.from_public_bytes(raw)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise BadKeySet("this is not a JWK Set") from error
    if not keys:
        raise BadKeySet("the JWK Set has no Ed25519 key")
    return keys


class _AnyKeySet(Struct, frozen=True):
    keys: Sequence[Mapping[str, Any]]


def thumbprint(key: bytes) -> str:
    """What names a public key: a hash of it."""
    canonical = f'{{"crv":"Ed25519","kty":"OKP","x":"{encode(key)}"}}'
    return encode(hashlib.sha256(canonical.encode()).digest())


def encode(raw: bytes) -> str:
    """As base64url without padding."""
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def decode(text: str) -> bytes:
    """Read what `encode` wrote, and no other spelling of it.

    Raises:
        ValueError: it did not write that.
    """
    raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    if encode(raw) != text:
        raise ValueError("not base64url in its shortest form")
    return raw

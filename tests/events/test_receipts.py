"""Receipts as anybody can verify them: the words of the RFCs, and whoever would forge one."""

import base64
import hashlib
import hmac
import json
import string
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from events import jws
from events.errors import BadKeySet, BadSigned, BadSigningKeys, UnknownSigner
from events.ids import new_id
from events.jws import KeySet, SigningKey, read_keys
from events.receipts import KIND, Claims, Facts, issue, read_signing_keys, verify

# RFC 8037, appendix A
SEED = jws.decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A")
X = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
THUMBPRINT = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
SIGNED = (
    "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg"
    "3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"
)

KEY = SigningKey(SEED)
KEYS = read_keys(msgspec.json.encode(KeySet([KEY.public])))
FACTS = Facts(
    request_id=new_id(),
    account=new_id(),
    key="0123456789",
    model="echo",
    task="echo",
    status=200,
    started_at=datetime(2026, 11, 21, 4, 36, 28, 92_000, UTC),
    recorded_at=datetime(2026, 11, 21, 4, 36, 29, tzinfo=UTC),
    duration_ms=36,
    parts=1,
    billed=True,
    quantities={"requests": 1, "input_words": 10},
    cost="0.00001",
    plan="paid",
    price_per_unit={"input_words": "0.000001"},
)
RECEIPT = issue(FACTS, KEY, issuer="https://api.example.com", now=1_795_000_000.9)


def with_header(**changes: Any) -> str:
    """The receipt with another header, signed again by its own key."""
    header = {"alg": "EdDSA", "kid": THUMBPRINT, "typ": KIND, **changes}
    signed = f"{jws.encode(json.dumps(header).encode())}.{RECEIPT.split('.')[1]}"
    signature = Ed25519PrivateKey.from_private_bytes(SEED).sign(signed.encode())
    return f"{signed}.{jws.encode(signature)}"


def test_a_receipt_says_later_what_was_said() -> None:
    receipt = verify(RECEIPT, KEYS)

    assert receipt.claims == Claims(
        **msgspec.structs.asdict(FACTS), iss="https://api.example.com", iat=1_795_000_000
    )
    assert receipt.kid == THUMBPRINT


def test_keys_and_signatures_are_those_of_the_rfc() -> None:
    header, payload, signature = map(jws.decode, SIGNED.split("."))

    assert (KEY.public.x, KEY.public.kid) == (X, THUMBPRINT)
    assert (header, payload) == (b'{"alg":"EdDSA"}', b"Example of Ed25519 signing")
    KEYS[THUMBPRINT].verify(signature, SIGNED.rpartition(".")[0].encode())


@pytest.mark.parametrize("claim", Claims.__struct_fields__)
def test_a_claim_that_was_changed_is_noticed(claim: str) -> None:
    header, payload, signature = RECEIPT.split(".")
    claims = json.loads(jws.decode(payload))
    claims[claim] = {"int": 7, "str": "7", "bool": False, "dict": {}}[type(claims[claim]).__name__]
    forged = jws.encode(json.dumps(claims, separators=(",", ":")).encode())

    with pytest.raises(BadSigned, match="the signature is wrong"):
        verify(f"{header}.{forged}.{signature}", KEYS)


@given(st.integers(0, len(RECEIPT) - 1), st.characters())
def test_no_character_can_be_another(position: int, character: str) -> None:
    changed = RECEIPT[:position] + character + RECEIPT[position + 1 :]

    if changed != RECEIPT:
        with pytest.raises((BadSigned, UnknownSigner)):
            verify(changed, KEYS)


def test_a_signature_has_one_spelling() -> None:
    """Its last character has four bits that base64 would pass over."""
    for character in {*string.ascii_letters, *string.digits, *"-_+/="} - {RECEIPT[-1]}:
        with pytest.raises(BadSigned):
            verify(RECEIPT[:-1] + character, KEYS)


def test_a_receipt_that_nobody_signed_is_refused() -> None:
    header = jws.encode(json.dumps({"alg": "none", "kid": THUMBPRINT, "typ": KIND}).encode())
    payload = RECEIPT.split(".")[1]

    for text in (f"{header}.{payload}.", f"{header}.{payload}.{RECEIPT.split('.')[2]}"):
        with pytest.raises(BadSigned, match="'none'"):
            verify(text, KEYS)


@pytest.mark.parametrize("length", [0, 1, 63, 65, 10_000])
def test_a_signature_of_another_length_is_wrong(length: int) -> None:
    signed = RECEIPT.rpartition(".")[0]

    with pytest.raises(BadSigned, match="the signature is wrong"):
        verify(f"{signed}.{jws.encode(b's' * length)}", KEYS)


@pytest.mark.parametrize(
    "secret",
    [jws.decode(X), X.encode(), msgspec.json.encode(KEY.public)],
    ids=["raw", "base64", "jwk"],
)
def test_the_public_key_is_no_shared_secret(secret: bytes) -> None:
    header = jws.encode(json.dumps({"alg": "HS256", "kid": THUMBPRINT, "typ": KIND}).encode())
    signed = f"{header}.{RECEIPT.split('.')[1]}"
    mac = hmac.new(secret, signed.encode(), hashlib.sha256).digest()

    with pytest.raises(BadSigned, match="'HS256'"):
        verify(f"{signed}.{jws.encode(mac)}", KEYS)


@pytest.mark.parametrize(
    "changes",
    [{"typ": "at+jwt"}, {"alg": "Ed25519"}, {"crit": ["exp"], "exp": 1}, {"jwk": {}}, {"kid": 1}],
)
def test_a_header_that_is_not_a_receipts_is_refused(changes: dict[str, Any]) -> None:
    assert verify(with_header(), KEYS)

    with pytest.raises(BadSigned):
        verify(with_header(**changes), KEYS)


def test_what_was_signed_and_is_no_receipt_is_refused() -> None:
    with pytest.raises(BadSigned, match="no receipt"):
        verify(KEY.sign(b'{"iss":"me"}', KIND), KEYS)


def test_a_key_signs_for_as_long_as_it_is_published() -> None:
    old, new = SigningKey(b"o" * 32), SigningKey(b"n" * 32)
    both = read_keys(msgspec.json.encode(KeySet([new.public, old.public])))
    of_old = issue(FACTS, old, issuer="", now=0)

    assert verify(of_old, both).kid == old.public.kid
    assert verify(issue(FACTS, new, issuer="", now=0), both).kid == new.public.kid
    with pytest.raises(UnknownSigner, match=old.public.kid):
        verify(of_old, KEYS)


@given(st.text() | st.lists(st.binary()).map(lambda parts: ".".join(map(jws.encode, parts))))
def test_no_text_crashes_it(text: str) -> None:
    with pytest.raises(BadSigned):
        verify(text, KEYS)


def test_a_header_without_end_crashes_nothing() -> None:
    deep = jws.encode(b'{"alg":' * 100_000)

    with pytest.raises(BadSigned):
        verify(f"{deep}.{deep}.{deep}", KEYS)


@given(st.binary() | st.recursive(st.text(), st.lists).map(msgspec.json.encode))
def test_no_bytes_crash_the_reading_of_keys(text: bytes) -> None:
    with pytest.raises(BadKeySet):
        read_keys(text)


def test_keys_of_other_kinds_are_passed_over() -> None:
    rsa = {"kty": "RSA", "n": "AQAB", "e": "AQAB"}
    ed25519 = {"kty": "OKP", "crv": "Ed25519", "x": X, "kid": "as somebody else calls it"}

    assert list(read_keys(json.dumps({"keys": [rsa, ed25519]}).encode())) == [THUMBPRINT]
    with pytest.raises(BadKeySet):
        read_keys(json.dumps({"keys": [rsa]}).encode())
    with pytest.raises(BadKeySet):
        read_keys(json.dumps({"keys": [{**ed25519, "x": "short"}]}).encode())


def test_signing_keys_come_in_any_spelling_of_base64() -> None:
    seed = b"\xff\xfe\xfd" + b"s" * 29
    spelled = base64.b64encode(seed).decode(), base64.urlsafe_b64encode(seed).decode().rstrip("=")

    assert read_signing_keys("") == read_signing_keys(" , ") == []
    found = read_signing_keys(", ".join(spelled))
    assert {key.public.kid for key in found} == {SigningKey(seed).public.kid}


@given(st.text(min_size=1).filter(lambda text: text.strip(" ,\t\n") and len(text) < 43))
def test_a_bad_signing_key_is_numbered_and_not_shown(text: str) -> None:
    with pytest.raises(BadSigningKeys, match=r"key \d+ of TOLLGATE_RECEIPT_KEYS"):
        read_signing_keys(f"{base64.b64encode(SEED).decode()},{text.replace(',', '')}!")

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import BadSignature
from edge.stripe.signature import verify

BODY = b'{"id": "evt_1"}'
NOW = 1_800_000_000.0
SECRET = "whsec_one"


def signed(body: bytes = BODY, *, at: float = NOW, secret: str = SECRET) -> str:
    digest = hmac.new(secret.encode(), f"{int(at)}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={int(at)},v1={digest}"


def test_what_stripe_signed_is_accepted() -> None:
    verify(BODY, signed(), [SECRET], now=NOW)


def test_either_secret_is_accepted_during_a_rotation() -> None:
    verify(BODY, signed(secret="whsec_two"), [SECRET, "whsec_two"], now=NOW)


def test_any_of_several_signatures_will_do() -> None:
    verify(BODY, f"{signed(secret='other')},{signed().partition(',')[2]}", [SECRET], now=NOW)


@pytest.mark.parametrize("off_s", [-301, 301, 10**9])
def test_a_signature_from_another_time_is_refused(off_s: float) -> None:
    with pytest.raises(BadSignature, match="another time"):
        verify(BODY, signed(at=NOW + off_s), [SECRET], now=NOW)


@pytest.mark.parametrize("off_s", [-300, 0, 300])
def test_five_minutes_either_way_are_fine(off_s: float) -> None:
    verify(BODY, signed(at=NOW + off_s), [SECRET], now=NOW)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "t=",
        "t=1800000000",
        "v1=00",
        "t=x,v1=00",
        "t=-1,v1=00",
        "t=1,t=2,v1=00",
        "t=1800000000,v1=ü",
        f"t={'9' * 5_000},v1=00",
        "t=1800000000,v0=00",
        signed(secret="wrong"),
        signed(b"other body"),
    ],
)
def test_what_is_malformed_or_forged_is_refused(header: str | None) -> None:
    with pytest.raises(BadSignature):
        verify(BODY, header, [SECRET], now=NOW)


@given(st.text())
def test_no_header_crashes_it(header: str) -> None:
    with pytest.raises(BadSignature):
        verify(BODY, header, [SECRET], now=NOW)

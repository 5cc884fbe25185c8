"""Stripe's webhook signatures."""

import hashlib
import hmac
from collections.abc import Sequence
from typing import Final

from edge.errors import BadSignature

TOLERANCE_S: Final = 300  # either way: a clock may also be behind
MOST_SIGNATURES: Final = 16  # Stripe sends one for each secret that is valid


def verify(body: bytes, header: str | None, secrets: Sequence[str], *, now: float) -> None:
    """Check that one of `secrets` signed exactly these bytes, within five minutes.

    Args:
        body: As received; a signature covers bytes, not JSON.
        header: ``Stripe-Signature``: ``t=<Unix seconds>,v1=<hex>[,v1=<hex>]...``.
        secrets: All that are valid now; two while one replaces the other.
        now: Unix seconds.

    Raises:
        BadSignature: it does not fit, or is too old or too far in the future.

    Source: Stripe's manual verification, scheme v1. Not its package's `construct_event`,
    which raises TypeError on a header that is not ASCII and takes any future time.
    """
    time, given = read_header(header, now=now)
    signed = time + b"." + body
    expected = [
        hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest().encode() for secret in secrets
    ]
    # every pair is compared, so that time tells nothing about which one fits
    fits = [hmac.compare_digest(one, other) for one in expected for other in given]
    if not any(fits):
        raise BadSignature("no signing secret of this endpoint fits the signature")


def read_header(header: str | None, *, now: float) -> tuple[bytes, Sequence[bytes]]:
    """The time in a ``Stripe-Signature``, and its signatures; a body is not needed for it.

    Raises:
        BadSignature: as `verify`, for all that can be seen without the body.
    """
    if not header:
        raise BadSignature("the Stripe-Signature header is missing")
    pairs = [part.strip().partition("=")[::2] for part in header.split(",")]
    times = [value for key, value in pairs if key == "t"]
    given = [value.encode() for key, value in pairs if key == "v1"]
    if len(times) != 1 or not (times[0].isascii() and times[0].isdigit()) or not given:
        raise BadSignature("Stripe-Signature needs one t=<Unix seconds> and a v1=<hex>")
    if len(times[0]) > 12 or abs(now - int(times[0])) > TOLERANCE_S:  # noqa: PLR2004 - year 33658
        raise BadSignature("the signature is from another time: over five minutes off")
    if len(given) > MOST_SIGNATURES:
        raise BadSignature(f"Stripe-Signature has more than {MOST_SIGNATURES} v1=<hex>")
    return times[0].encode(), given

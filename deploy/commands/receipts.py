"""`tollgate receipts`."""

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import httpx
import msgspec
import typer
from msgspec import Struct

from deploy.commands.output import AsJson, print_json, show_table
from deploy.environment import environment_for_commands, read_settings
from deploy.errors import DeployError
from edge.settings import Secret
from events import receipts
from events.errors import BadSigned
from events.jws import Keys, KeySet, read_keys
from events.receipts import Claims, Receipt, read_signing_keys

app = typer.Typer(help="Verify receipts, and show the keys that they are verified with.")

FETCH_S: Final = 10.0


class ReceiptSettings(Struct, frozen=True, kw_only=True):
    """What receipts are signed with."""

    receipt_keys: Secret = ""


class Unreadable(DeployError):
    """A file, or what is behind a URL, cannot be had."""


@app.command("verify")
def verify(
    file: Annotated[str, typer.Argument(help="A receipt, or the answer with it; - is stdin.")],
    *,
    keys: Annotated[str, typer.Option(help="A JWK Set: a file, or a URL to fetch it from.")],
    as_json: AsJson = False,
) -> None:
    """See that a receipt was signed with one of the keys, and show what it says.

    With the keys in a file nothing is asked of any server.
    """
    known = read_keys(_fetch(keys) if keys.startswith(("http://", "https://")) else _read(keys))
    receipt = _verified(_read(file), known)
    if as_json:
        print(msgspec.json.format(receipt.payload).decode())
        return
    show_table(("what", "value"), _rows(receipt))


@app.command("keys")
def show_keys() -> None:
    """Print the public keys of TOLLGATE_RECEIPT_KEYS as a JWK Set."""
    settings = read_settings(ReceiptSettings, environment_for_commands())
    print_json(KeySet([key.public for key in read_signing_keys(settings.receipt_keys)]))


def _verified(text: bytes, keys: Keys) -> Receipt:
    """A receipt alone, or in the JSON that the API answers with; then all of that must agree."""
    try:
        plain = text.decode().strip()
        around = msgspec.json.decode(plain, type=dict[str, Any]) if plain[:1] == "{" else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadSigned("this is no receipt, and no answer that has one") from error
    if around is None:
        return receipts.verify(plain, keys)
    found = around.pop("receipt", None)
    if not isinstance(found, str):
        raise BadSigned("this has no receipt: whoever answered it had no key to sign with")
    receipt = receipts.verify(found, keys)
    signed = msgspec.json.decode(receipt.payload, type=dict[str, Any])
    changed = [name for name, value in around.items() if signed.get(name) != value]
    if changed:
        raise BadSigned(f"the receipt is right, and says otherwise about: {', '.join(changed)}")
    return receipt


def _rows(receipt: Receipt) -> list[tuple[str, Any]]:
    claims = receipt.claims
    took = None if claims.duration_ms is None else f"{claims.duration_ms:,} ms"
    return [
        ("request", claims.request_id),
        ("account", claims.account),
        ("key", claims.key),
        ("model", claims.model),
        ("task", claims.task),
        ("status", claims.status),
        ("started at", claims.started_at.isoformat()),
        ("recorded at", claims.recorded_at.isoformat()),
        ("took", took),
        ("plan", claims.plan or "not recorded"),
        *_amounts(claims),
        ("cost", claims.cost if claims.billed else f"{claims.cost}: it was taken back"),
        ("issuer", claims.iss),
        ("issued at", datetime.fromtimestamp(claims.iat, UTC).isoformat()),
        ("signed with", receipt.kid),
    ]


def _amounts(claims: Claims) -> list[tuple[str, str]]:
    """What was used of each, and what one of it costs."""
    prices = claims.price_per_unit or {}
    each = {name: f", {price} each" for name, price in prices.items()}
    return [
        (name.replace("_", " "), f"{count:,}{each.get(name, '')}")
        for name, count in claims.quantities.items()
        if count
    ]


def _read(file: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise Unreadable(f"{file}: {error.strerror or error}") from error


def _fetch(url: str) -> bytes:
    try:
        return httpx.get(url, timeout=FETCH_S).raise_for_status().content
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise Unreadable(f"{url}: {error}") from error

"""The folder that holds all state of one `tollgate up`."""

import json
import os
import secrets
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from deploy.errors import BadSecrets, HomeInUse, StillInUse
from deploy.local.locks import locked


class Demo(Struct, frozen=True, kw_only=True):
    """The account that a new home starts with. Its key is kept in clear only here."""

    account_id: str
    api_key: str

    def __repr__(self) -> str:
        return f"Demo(account_id={self.account_id!r}, ...)"


class Secrets(Struct, frozen=True, kw_only=True):
    """What is made up once for a home, and stays the same from then on."""

    key_secret: str
    admin_token: str
    stripe_webhook_secret: str
    receipt_key: str = ""  # homes made before there were receipts have none yet
    demo: Demo | None = None

    def __repr__(self) -> str:
        return "Secrets(...)"


@contextmanager
def claimed(home: Path) -> Iterator[Path]:
    """Have a home to ourselves for the length of a block; it is made if need be.

    Yields:
        Its absolute path.

    Raises:
        HomeInUse: somebody else has it.
    """
    home = home.resolve()
    home.mkdir(parents=True, exist_ok=True)
    path = home / "lock"
    try:
        with locked(path, within_s=0) as descriptor:
            os.truncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
            yield home
    except StillInUse as error:
        if error.path != path:  # a server's lock, not ours
            raise
        raise HomeInUse(home, path.read_text().strip()) from error


def read_secrets(home: Path) -> Secrets:
    """The home's secrets, made up if this is its first time.

    Raises:
        BadSecrets: the file cannot be read.
    """
    path = home / "secrets.json"
    try:
        kept = msgspec.json.decode(path.read_bytes(), type=Secrets)
    except FileNotFoundError:
        kept = Secrets(
            key_secret=secrets.token_urlsafe(32),
            admin_token=secrets.token_urlsafe(32),
            stripe_webhook_secret=f"whsec_{secrets.token_urlsafe(32)}",
        )
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadSecrets(path, str(error)) from error
    if not kept.receipt_key:
        kept = replace(kept, receipt_key=b64encode(secrets.token_bytes(32)).decode())
        write_secrets(home, kept)
    return kept


def write_secrets(home: Path, kept: Secrets) -> None:
    """Replace the home's secrets."""
    write_privately(home / "secrets.json", msgspec.to_builtins(kept))


def write_privately(path: Path, value: object) -> None:
    """Write JSON that only we may read, all at once."""
    part = path.with_name(f".{path.name}.part")
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(json.dumps(value, indent=2) + "\n")
    part.rename(path)

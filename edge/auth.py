"""Who is calling: what is in the Authorization header, and whose it is."""

import asyncio
import base64
import hmac
from datetime import UTC, datetime
from typing import Final

import structlog
from msgspec import Struct

from edge.accounts import Accounts
from edge.errors import (
    ExpiredKey,
    LedgerAway,
    MalformedKey,
    MissingKey,
    NotAdmin,
    RevokedKey,
    UnknownKey,
)
from events.accounts import Account, ApiKey
from ledger import key_format
from ledger.api_keys import keys_used
from ledger.db import Pool, acquire
from ledger.errors import LedgerUnavailable

log = structlog.get_logger()

NOTE_S: Final = 30.0


class Caller(Struct, frozen=True):
    """On whose behalf a request runs."""

    account: Account
    key: ApiKey


def credentials(authorization: str | None) -> str:
    """The secret in an Authorization header.

    Taken as ``Bearer K``, as ``Token K``, and as the user name of HTTP Basic.

    Raises:
        MissingKey: there is no header, or nothing in it.
        MalformedKey: another scheme, or Basic that does not decode.
    """
    scheme, _, value = (authorization or "").strip().partition(" ")
    value = value.strip()
    match scheme.lower():
        case "":
            message = "send your API key as `Authorization: Bearer <key>`"
            raise MissingKey(message)
        case "bearer" | "token":
            secret = value
        case "basic":
            try:
                secret = base64.b64decode(value, validate=True).decode().partition(":")[0]
            except ValueError as error:  # no ASCII, no base64, or no UTF-8
                message = "HTTP Basic takes base64 of `<key>:`"
                raise MalformedKey(message) from error
        case _:
            message = f"scheme {scheme[:32]!r} is not taken; send `Authorization: Bearer <key>`"
            raise MalformedKey(message)
    if not secret:
        message = "the Authorization header holds no key; send `Authorization: Bearer <key>`"
        raise MissingKey(message)
    return secret


class Keys:
    """Tells who a key belongs to, and notes that it was used."""

    def __init__(self, accounts: Accounts, secret: str) -> None:
        self._accounts = accounts
        self._secret = secret.encode()
        self._used: dict[str, datetime] = {}  # since the last time that it was written

    async def authenticate(self, authorization: str | None) -> Caller:
        """The caller behind an Authorization header.

        Raises:
            MissingKey, MalformedKey, UnknownKey, RevokedKey, ExpiredKey: answered 401,
                each its own code.
            LedgerAway: an unknown key while PostgreSQL is away; answered 503.
        """
        return await self.identify(self.hash_of(authorization))

    def hash_of(self, authorization: str | None) -> bytes:
        """What the key in an Authorization header is known by.

        Raises:
            MissingKey, MalformedKey: answered 401.
        """
        secret = credentials(authorization)
        if not key_format.checksum_ok(secret):  # no look-up for what is only a typo
            message = "the key is malformed: copy all of it, from `tg_` to its last letter"
            raise MalformedKey(message)
        return key_format.digest(secret, self._secret)

    async def identify(self, digest: bytes) -> Caller:
        """The caller behind a key's hash; raises as `authenticate`, but for what is no key."""
        try:
            found = await self._accounts.find(digest)
        except LedgerUnavailable as error:
            message = "keys cannot be looked up right now; try again"
            raise LedgerAway(message, retry_after_s=1) from error
        if found is None:
            message = "no such key; it may belong to another installation"
            raise UnknownKey(message)
        account, key = found
        now = datetime.now(UTC)
        if key.revoked_at is not None:
            message = (
                f"key {key.id} was revoked at {key.revoked_at:%Y-%m-%d %H:%M} UTC; use another"
            )
            raise RevokedKey(message)
        if key.expires_at is not None and key.expires_at <= now:
            message = f"key {key.id} expired at {key.expires_at:%Y-%m-%d %H:%M} UTC; use another"
            raise ExpiredKey(message)
        self._used[key.id] = now
        return Caller(account, key)

    async def note_use(self, pool: Pool) -> None:
        """Write when keys were last used, every half minute and for ever."""
        while True:
            await asyncio.sleep(NOTE_S)
            used, self._used = self._used, {}
            try:
                if used:
                    async with acquire(pool) as connection:
                        await keys_used(connection, used)
            except LedgerUnavailable as error:
                log.warning("use_not_noted", keys=len(used), error=repr(error))
                self._used = used | self._used


def require_admin(authorization: str | None, admin_token: str) -> None:
    """Let only the operator through.

    Raises:
        NotAdmin: anything but ``Bearer <admin token>``.
    """
    try:
        given = credentials(authorization)
    except (MissingKey, MalformedKey):
        given = ""
    if not hmac.compare_digest(given.encode(), admin_token.encode()):
        message = "send the operator's token as `Authorization: Bearer <admin token>`"
        raise NotAdmin(message)

"""Who is calling: API keys by hash, from memory where we can."""

import asyncio
import base64
import binascii
import hmac
import time
from collections.abc import Callable
from typing import Final
from uuid import UUID

import structlog
from msgspec import Struct

from edge.errors import LedgerAway, MalformedKey, MissingKey, NotAdmin, RevokedKey, UnknownKey
from ledger import key_format
from ledger.api_keys import ApiKey, find_key
from ledger.db import Pool, acquire
from ledger.errors import LedgerUnavailable

log = structlog.get_logger()

LOOK_UP_S: Final = 2.0  # then PostgreSQL counts as away
MAX_CACHED: Final = 200_000  # keys; the oldest goes first
AWAY_S: Final = 1.0  # how long a known key is taken unseen when PostgreSQL is away


class Caller(Struct, frozen=True):
    """On whose behalf a request runs."""

    account_id: UUID
    key_id: str


class _Cached(Struct):
    key: ApiKey | None  # None: looked up and not there
    until: float  # by the monotonic clock


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
            except (binascii.Error, UnicodeDecodeError) as error:
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
    """Looks keys up: in memory, else once in PostgreSQL for all who ask meanwhile.

    PostgreSQL may be away: a key that was seen before goes on working.
    """

    def __init__(
        self,
        pool: Pool,
        secret: str,
        *,
        ttl_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pool = pool
        self._secret = secret.encode()
        self._ttl_s = ttl_s
        self._clock = clock
        self._cached: dict[bytes, _Cached] = {}
        self._looking: dict[bytes, asyncio.Future[ApiKey | None]] = {}

    async def authenticate(self, authorization: str | None) -> Caller:
        """The caller behind an Authorization header.

        Raises:
            MissingKey, MalformedKey, UnknownKey, RevokedKey: answered 401, each its own code.
            LedgerAway: an unknown key while PostgreSQL is away; answered 503.
        """
        secret = credentials(authorization)
        if not key_format.checksum_ok(secret):  # no look-up for what is only a typo
            message = "the key is malformed: copy all of it, from `tg_` to its last letter"
            raise MalformedKey(message)
        digest = key_format.digest(secret, self._secret)
        cached = self._cached.get(digest)
        if cached is None or cached.until < self._clock():
            cached = await self._look_up(digest, cached)
        key = cached.key
        if key is None:
            message = "no such key; it may belong to another installation"
            raise UnknownKey(message)
        if key.revoked_at is not None:
            message = (
                f"key {key.id} was revoked at {key.revoked_at:%Y-%m-%d %H:%M} UTC; use another"
            )
            raise RevokedKey(message)
        return Caller(key.account_id, key.id)

    async def _look_up(self, digest: bytes, stale: _Cached | None) -> _Cached:
        looking = self._looking.get(digest)
        if looking is None:
            looking = asyncio.get_running_loop().create_future()
            self._looking[digest] = looking
            try:
                looking.set_result(await self._find(digest))
            except LedgerUnavailable as error:
                looking.set_exception(error)
                looking.exception()  # read here: perhaps nobody else waits for it
            finally:
                looking.cancel()  # where we were cancelled ourselves; else it does nothing
                del self._looking[digest]
        try:
            found = _Cached(await asyncio.shield(looking), self._clock() + self._ttl_s)
        except LedgerUnavailable as error:
            if stale is None:
                message = "keys cannot be looked up right now; try again"
                raise LedgerAway(message, retry_after_s=1) from error
            log.warning("key_taken_unseen", key_id=stale.key and stale.key.id, error=repr(error))
            found = _Cached(stale.key, self._clock() + AWAY_S)
        self._cached.pop(digest, None)  # so that a dict's order is the order of look-ups
        self._cached[digest] = found
        if len(self._cached) > MAX_CACHED:
            del self._cached[next(iter(self._cached))]
        return found

    async def _find(self, digest: bytes) -> ApiKey | None:
        async with (
            acquire(self._pool, timeout_s=LOOK_UP_S) as connection,
            asyncio.timeout(LOOK_UP_S),
        ):
            return await find_key(connection, digest)


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

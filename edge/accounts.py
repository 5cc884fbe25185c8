"""Accounts and keys as this edge knows them.

What was asked for once is kept, and every announced change is applied to it. That is
only as good as the link to NATS: so the stream is asked for news every second, and
once that has failed for `FRESH_S`, what is kept is looked up again before it is used.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Final
from uuid import UUID

import msgspec
import nats.errors
import structlog
from msgspec import Struct
from nats.aio.client import Client
from nats.aio.msg import Msg

from events import accounts, broker
from events.accounts import Account, Announcement, ApiKey, KeyChanged
from events.direct import Direct
from events.streams import ACCOUNTS
from ledger.api_keys import Found, find_keys
from ledger.db import Pool, acquire
from ledger.errors import LedgerUnavailable

log = structlog.get_logger()

FRESH_S: Final = 5.0
PULSE_S: Final = 1.0
LOOK_UP_S: Final = 2.0  # then PostgreSQL counts as away
MAX_KEYS: Final = 400_000
MAX_UNKNOWN: Final = 50_000  # hashes of no key; kept apart, so that they push nobody out


class Known(Struct, gc=False):
    """A key, or that there is no such key."""

    key: ApiKey | None
    version: int  # of its account when this was so
    looked_at: float  # by the monotonic clock


class Accounts:
    """Looks keys up: in memory, else in PostgreSQL, all that are asked for at once.

    One query is under way at a time, and answers for all who came meanwhile: a storm
    of unknown keys costs PostgreSQL one query after the other, and nothing more.
    """

    def __init__(
        self,
        connection: Client,
        direct: Direct,
        pool: Pool,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connection = connection
        self._direct = direct
        self._pool = pool
        self._clock = clock
        self._accounts: dict[UUID, Account] = {}
        self._keys: dict[bytes, Known] = {}
        self._unknown: dict[bytes, Known] = {}
        self._sequence = 0  # of the stream's last message that was applied
        self._fresh_until = 0.0
        self._wanted: dict[bytes, asyncio.Future[None]] = {}
        self._asked = asyncio.Event()

    async def start(self) -> None:
        """Listen from now on; what is looked up later is at least as new."""
        await self._connection.subscribe(
            accounts.SUBJECTS, cb=self._hear, pending_msgs_limit=0, pending_bytes_limit=0
        )
        await broker.settle(self._connection)
        info = await self._connection.jetstream().stream_info(ACCOUNTS)
        self._sequence = info.state.last_seq
        self._fresh_until = self._clock() + FRESH_S

    async def find(self, digest: bytes) -> tuple[Account, ApiKey] | None:
        """The key with this hash and its account; revoked ones included.

        Raises:
            LedgerUnavailable: it is not known here, and cannot be looked up.
        """
        known = self._keys.get(digest) or self._unknown.get(digest)
        if known is None or not self._is_fresh(known):
            known = await self._look_up(digest)
        if known.key is None:
            return None
        account = self._accounts.get(known.key.account_id)
        assert account is not None, known.key.account_id  # they come and go together
        return account, known.key

    def _is_fresh(self, known: Known) -> bool:
        now = self._clock()
        return now < self._fresh_until or now < known.looked_at + FRESH_S

    async def _look_up(self, digest: bytes) -> Known:
        done = self._wanted.get(digest)
        if done is None:
            done = self._wanted[digest] = asyncio.get_running_loop().create_future()
            self._asked.set()
        await asyncio.shield(done)
        return self._keys.get(digest) or self._unknown[digest]

    async def look_up(self) -> None:
        """Answer look-ups, for ever."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            wanted = dict(self._wanted)
            if not wanted:
                continue
            began = self._clock()
            try:
                found = await self._query(list(wanted))
            except LedgerUnavailable as error:
                log.warning("keys_not_looked_up", keys=len(wanted), error=repr(error))
                for digest, done in wanted.items():
                    del self._wanted[digest]
                    done.set_exception(error)
                    done.exception()  # read here: perhaps nobody waits any more
                continue
            for digest, done in wanted.items():
                if self._keep(digest, found.get(digest), began):
                    del self._wanted[digest]
                    done.set_result(None)
                else:
                    self._asked.set()

    async def _query(self, digests: list[bytes]) -> Mapping[bytes, Found]:
        try:
            async with (
                acquire(self._pool, timeout_s=LOOK_UP_S) as connection,
                asyncio.timeout(LOOK_UP_S),
            ):
                return await find_keys(connection, digests)
        except TimeoutError as error:
            raise LedgerUnavailable("no answer in time") from error

    def _keep(self, digest: bytes, found: Found | None, looked_at: float) -> bool:
        """Take in what was found; False where news came meanwhile that it lacks."""
        if found is None:
            if self._keys.pop(digest, None) is not None:
                return False  # made just now: announced, and not yet there when we looked
            _put(self._unknown, digest, Known(None, 0, looked_at), MAX_UNKNOWN)
            return True
        self._apply_account(found.account)
        self._unknown.pop(digest, None)
        known = self._keys.get(digest)
        if known is None or known.version <= found.account.version:
            known = Known(found.key, found.account.version, looked_at)
        known.looked_at = looked_at
        _put(self._keys, digest, known, MAX_KEYS)
        return True

    def _apply_account(self, account: Account) -> None:
        before = self._accounts.get(account.id)
        if before is None or before.version < account.version:
            self._accounts[account.id] = account

    # --- news ------------------------------------------------------------------------

    async def _hear(self, message: Msg) -> None:
        try:
            self._apply(accounts.decode(message.data))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            log.error("announcement_unreadable", subject=message.subject, error=str(error))

    def _apply(self, announcement: Announcement) -> None:
        """Change what is known; and, while something is looked up, what may be found."""
        if not isinstance(announcement, KeyChanged):
            if announcement.account.id in self._accounts or self._wanted:
                self._apply_account(announcement.account)
            return
        digest = announcement.hash
        self._unknown.pop(digest, None)
        known = self._keys.get(digest)
        if known is None and digest not in self._wanted:
            return
        if known is None or known.version <= announcement.version:
            self._keys[digest] = Known(announcement.key, announcement.version, self._clock())

    async def catch_up(self) -> None:
        """Apply what was announced since the last time, as far as the stream answers."""
        began = self._clock()
        try:
            info = await self._connection.jetstream().stream_info(ACCOUNTS)
            last = info.state.last_seq
            if last < self._sequence:  # a new stream: nobody knows what the old one said
                log.warning("accounts_forgotten", keys=len(self._keys))
                self._keys.clear()
                self._unknown.clear()
                self._accounts.clear()
                self._sequence = last
            while self._sequence < last:
                messages = await self._direct.since(ACCOUNTS, self._sequence + 1, accounts.SUBJECTS)
                for message in messages:
                    await self._hear(message)
                    self._sequence = int((message.headers or {})["Nats-Sequence"])
                if not messages:
                    break
        except (nats.errors.Error, OSError, TimeoutError) as error:
            log.warning("accounts_not_read", error=repr(error))
        else:
            self._fresh_until = began + FRESH_S

    async def watch(self) -> None:
        """Ask for news every second, for ever: it also shows that the link is alive."""
        while True:
            await asyncio.sleep(PULSE_S)
            await self.catch_up()


def _put(cache: dict[bytes, Known], digest: bytes, known: Known, maximum: int) -> None:
    cache.pop(digest, None)  # so that a dict's order is the order of look-ups
    cache[digest] = known
    if len(cache) > maximum:
        del cache[next(iter(cache))]

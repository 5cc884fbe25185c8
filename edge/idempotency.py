"""Idempotency-Key: a request that is sent twice is executed, and billed, once.

The first one claims the key in a bucket that all edges share, and leaves its answer
there for a day. What it is billed by is its request id; so whoever takes over the claim
of an edge that died goes on under the same id, and the ledger counts it once even if
the dead edge had metered it already. A request that failed gives its claim back; one
that took it over leaves the id for the next, under which something may be billed by now;
unless all that may be is voided, for then the next one's answer would be billed to nobody.
"""

import asyncio
import hashlib
import time
from collections import deque
from collections.abc import Sequence
from typing import Final
from uuid import UUID

import msgspec
import nats.errors
import structlog
from msgspec import Struct
from nats.aio.client import Client

from edge.entry import NotWritten, Overtaken, write_entry
from edge.errors import BrokerAway, IdempotencyKeyReused, InvalidParameter, StillRunning
from events.direct import Direct
from events.streams import IDEMPOTENCY

log = structlog.get_logger()

HEADER: Final = b"idempotency-key"
REPLAYED: Final = (b"idempotent-replayed", b"true")  # the answer's header, where it is a repeat
MAX_KEY: Final = 255  # characters
MAX_GIVEN: Final = 10_000  # keys that wait to be given back; then the first one just expires
PAUSE_S: Final = 0.5  # between tries to give them back


class _Entry(Struct, frozen=True, array_like=True):
    """What the bucket has under a key."""

    request_id: UUID
    asked: bytes  # a hash of what was asked, of which model
    expires_at: float  # of a claim, in Unix seconds
    answer: bytes | None = None


class _Given(Struct, frozen=True):
    """A key that is given back: what is to be written under it, if nobody has since."""

    subject: str
    value: bytes
    after: int  # the claim's sequence number
    headers: dict[str, str]


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(_Entry)


class Claim:
    """The right to execute what a key stands for."""

    def __init__(
        self,
        store: "Idempotency",
        subject: str,
        entry: _Entry,
        sequence: int,
        *,
        taken_over: bool,
    ) -> None:
        self._store = store
        self._subject = subject
        self._entry = entry
        self._sequence = sequence
        self._taken_over = taken_over

    @property
    def request_id(self) -> UUID:
        """Under which it is to be metered: an earlier one's, where that died."""
        return self._entry.request_id

    async def complete(self, answer: bytes) -> None:
        """Leave the answer, as far as the broker takes it.

        Without it a repeat finds the claim, and takes it over once that has expired.
        """
        entry = msgspec.structs.replace(self._entry, answer=answer)
        try:
            await self._store.write(self._subject, _encoder.encode(entry), self._sequence, {})
        except (BrokerAway, StillRunning) as error:
            log.warning("idempotency_not_written", error=repr(error))

    async def release(self, *, voided: bool = False) -> None:
        """Give the key back: nothing was answered, so it may be tried again at once.

        Args:
            voided: Whether whatever is billed under its request id is, or will be, voided.
        """
        if self._taken_over and not voided:
            await self.suspend()
            return
        gone = _Given(self._subject, b"", self._sequence, {"KV-Operation": "DEL"})
        await self._store.give_back(gone)

    async def suspend(self) -> None:
        """Give the key back, but not its id: what was asked for may have come about."""
        entry = msgspec.structs.replace(self._entry, expires_at=0.0)
        await self._store.give_back(
            _Given(self._subject, _encoder.encode(entry), self._sequence, {})
        )


class Idempotency:
    """The bucket.

    Args:
        connection: Connected, or on its way back.
        direct: Reads it.
        claim_s: How long a request may run before its claim can be taken over.
    """

    def __init__(self, connection: Client, direct: Direct, *, claim_s: float) -> None:
        self._connection = connection
        self._direct = direct
        self._claim_s = claim_s
        self._given: deque[_Given] = deque(maxlen=MAX_GIVEN)  # of which the broker does not know
        self._pending = asyncio.Event()

    async def run(self) -> None:
        """Give back, for ever, the keys that the broker did not take when it was told."""
        while True:
            await self._pending.wait()
            self._pending.clear()
            for _ in range(len(self._given)):
                await self.give_back(self._given.popleft())
            if self._given:
                await asyncio.sleep(PAUSE_S)

    async def give_back(self, given: _Given) -> None:
        """Write it now, or else later: a claim that stays is taken over with its request id."""
        try:
            await self.write(given.subject, given.value, given.after, given.headers)
        except StillRunning as error:  # or it was written, and we did not hear of that
            log.info("idempotency_not_given_back", error=repr(error))
        except BrokerAway:
            self._given.append(given)
            self._pending.set()

    async def begin(
        self, account_id: UUID, key: str, asked: Sequence[bytes], request_id: UUID
    ) -> Claim | bytes:
        """Claim a key, or get the answer that was given under it.

        Args:
            account_id: Whose key it is: others may use the same.
            key: As the caller sent it.
            asked: All that makes the request what it is, its body last.
            request_id: To be metered under.

        Raises:
            InvalidParameter: the key is empty or too long.
            IdempotencyKeyReused: another request had this key; answered 422.
            StillRunning: the first one has no answer yet; answered 409.
            BrokerAway: nobody knows; answered 503.
        """
        if not 0 < len(key) <= MAX_KEY:
            message = f"an Idempotency-Key has 1 to {MAX_KEY} characters"
            raise InvalidParameter(message, param="Idempotency-Key")
        subject = f"$KV.idempotency.{account_id}.{hashlib.sha256(key.encode()).hexdigest()}"
        digest = hashlib.sha256(b"\0".join(asked)).digest()
        entry, sequence = await self._read(subject)
        taken_over = entry is not None
        if entry is not None:
            if entry.asked != digest:
                message = "this Idempotency-Key was used for another request; use a new one"
                raise IdempotencyKeyReused(message, param="Idempotency-Key")
            if entry.answer is not None:
                return entry.answer
            if (left := entry.expires_at - time.time()) > 0:
                raise _still_running(left)
            request_id = entry.request_id
        claimed = _Entry(request_id, digest, time.time() + self._claim_s)
        sequence = await self.write(subject, _encoder.encode(claimed), sequence, {})
        return Claim(self, subject, claimed, sequence, taken_over=taken_over)

    async def _read(self, subject: str) -> tuple[_Entry | None, int]:
        try:
            messages = await self._direct.last(IDEMPOTENCY, subject)
        except (nats.errors.Error, OSError, TimeoutError) as error:
            raise _away() from error
        if not messages:
            return None, 0
        headers = messages[0].headers or {}
        sequence = int(headers["Nats-Sequence"])
        if "KV-Operation" in headers:
            return None, sequence
        return _decoder.decode(messages[0].data), sequence

    async def write(self, subject: str, value: bytes, after: int, headers: dict[str, str]) -> int:
        """Write an entry if the last one is still the one that was read.

        Returns:
            The new entry's sequence number.

        Raises:
            StillRunning: it is not: somebody else claimed the key meanwhile.
            BrokerAway: it is not known to be written.
        """
        try:
            return await write_entry(self._connection, subject, value, after=after, headers=headers)
        except Overtaken as error:
            raise _still_running(1.0) from error
        except (NotWritten, nats.errors.MaxPayloadError) as error:
            log.warning("idempotency_refused", reason=str(error))
            raise _away() from error


def _still_running(left_s: float) -> StillRunning:
    message = "the first request with this Idempotency-Key still runs; ask again later"
    return StillRunning(message, retry_after_s=min(left_s, 1.0))


def _away() -> BrokerAway:
    message = "the Idempotency-Key cannot be looked up right now; nothing was executed, try again"
    return BrokerAway(message, retry_after_s=1)

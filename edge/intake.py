"""Durable intake of Stripe's events by group commit, and no answer before it.

Without message ids: Stripe repeats itself for days, far beyond any window of JetStream's,
and within the window one repeat would have a whole batch refused. The journal's key is
what removes repeats. So a unit is sent once: whatever its fate, if it is not known to be
stored then Stripe is told so, and sends its events again. And a few that come together need
no batch: they go out one by one, and are waited for together.
"""

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from typing import Final

import structlog
from msgspec import Struct
from nats.aio.client import Client

from edge.commit import ACK_S, Fate, GroupCommit, Message, Outcome, backoff
from edge.errors import BadSignature, NotStored
from edge.signature import verify
from events import stripe
from events.streams import MAX_BATCH

log = structlog.get_logger()

FEW: Final = 8  # messages that are sooner stored each by itself; measured: docs/benchmarks.md
UNIT_BYTES: Final = 4 * 2**20  # of one unit, or of one event that is larger
WAITING_BYTES: Final = 64 * 2**20  # beyond it the edge refuses at once
HEADERS_BYTES: Final = 1_024  # of the broker's largest message: what goes around a body
BROKEN_TRIES: Final = 4
NOT_STORED: Final = "the event could not be stored; send it again"


class _Entry(Struct, frozen=True):
    message: Message
    settled: asyncio.Future[None]


class Intake:
    """Verifies bodies, and stores them in the stream STRIPE, one unit at a time.

    Args:
        connection: To the broker.
        secrets: Signing secrets, comma-separated: two during a rotation.
        max_body_bytes: The edge's own bound; the broker may have a lower one.
        patience_s: For a body to be durable.
        ack_timeout_s: For the broker to say so of a unit.
    """

    def __init__(
        self,
        connection: Client,
        *,
        secrets: str,
        max_body_bytes: int,
        patience_s: float,
        ack_timeout_s: float = ACK_S,
    ) -> None:
        self._connection = connection
        self._secrets = [one.strip() for one in secrets.split(",") if one.strip()]
        self._max_body_bytes = max_body_bytes
        self._patience_s = patience_s
        self._group = GroupCommit(connection, ack_timeout_s=ack_timeout_s)
        self._waiting: deque[_Entry] = deque()
        self._bytes = 0  # that wait
        self._arrived = asyncio.Event()

    @property
    def max_body_bytes(self) -> int:
        """The largest body that is read: what is larger could not be stored."""
        return min(self._max_body_bytes, self._connection.max_payload - HEADERS_BYTES)

    async def take(self, body: bytes, signature: str | None) -> None:
        """Return once a body that Stripe signed is durable, and only then.

        Raises:
            BadSignature: Stripe did not, or at another time.
            NotStored: it is not known to be durable; send it again.
        """
        if not self._secrets:
            message = "no signing secret is configured: set TOLLGATE_STRIPE_WEBHOOK_SECRETS"
            raise BadSignature(message)
        verify(body, signature, self._secrets, now=time.time())
        if self._bytes + len(body) > WAITING_BYTES:
            raise NotStored("too many events wait to be stored; send it again", retry_after_s=1)
        settled: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Entry(Message(stripe.subject(body), body), settled))
        self._bytes += len(body)
        self._arrived.set()
        try:
            async with asyncio.timeout(self._patience_s):
                await settled
        except TimeoutError as error:
            raise NotStored(NOT_STORED, retry_after_s=1) from error

    async def run(self) -> None:
        """Store what arrives, for ever."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while entries := self._take():
                outcomes = await self._commit([one.message for one in entries])
                for entry, outcome in zip(entries, outcomes, strict=True):
                    self._settle(entry, outcome)

    def _take(self) -> list[_Entry]:
        """The next unit's entries, without those who gave up waiting."""
        entries: list[_Entry] = []
        size = 0
        while self._waiting and len(entries) < MAX_BATCH:
            length = len(self._waiting[0].message.payload)
            if entries and size + length > UNIT_BYTES:
                break
            entry = self._waiting.popleft()
            self._bytes -= length
            if not entry.settled.done():
                entries.append(entry)
                size += length
        return entries

    async def _commit(self, unit: Sequence[Message]) -> Sequence[Outcome]:
        """Store a unit; what became of each of its messages."""
        if len(unit) <= FEW:
            return await asyncio.gather(*[self._group.attempt([message]) for message in unit])
        for attempt in range(BROKEN_TRIES):
            outcome = await self._group.attempt(unit)
            if outcome.fate is not Fate.BROKEN:
                break
            await asyncio.sleep(backoff(attempt))
        return [outcome] * len(unit)

    def _settle(self, entry: _Entry, outcome: Outcome) -> None:
        if outcome.fate is not Fate.STORED:
            fate = outcome.fate.name
            log.error("event_not_stored", fate=fate, code=outcome.code, reason=outcome.reason)
        if entry.settled.done():
            return
        if outcome.fate is Fate.STORED:
            entry.settled.set_result(None)
        else:
            entry.settled.set_exception(NotStored(NOT_STORED, retry_after_s=1))

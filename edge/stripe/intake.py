"""Durable intake of Stripe's events by group commit, and no answer before it.

Without message ids: Stripe repeats itself for days, far beyond any window of JetStream's,
and within the window one repeat would have a whole batch refused. The journal's key is
what removes repeats. So a unit is sent once: whatever its fate, if it is not known to be
stored then Stripe is told so, and sends its events again. And a few at once need no batch:
each goes out as it comes, and only what finds so many under way waits for a batch.
"""

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from typing import Final

import structlog
from litestar.types import Receive, Scope
from msgspec import Struct
from nats.aio.client import Client

from edge.asgi import Answer, header, read_body
from edge.commit import ACK_S, Fate, GroupCommit, Message, Outcome, backoff
from edge.errors import BadSignature, MethodNotAllowed, NotStored
from edge.stripe.signature import read_header, verify
from events import stripe
from events.streams import MAX_BATCH

log = structlog.get_logger()

NAME: Final = "receive_stripe_event"  # the route's, in metrics and documents
PATH: Final = "/webhooks/stripe"
FEW: Final = 16  # bodies that are sooner stored each by itself; measured: docs/benchmarks.md
UNIT_BYTES: Final = 4 * 2**20  # of one unit, or of one event that is larger
WAITING_BYTES: Final = 64 * 2**20  # beyond it the edge refuses at once
HEADERS_BYTES: Final = 1_024  # of the broker's largest message: what goes around a body
BROKEN_TRIES: Final = 4
NOT_STORED: Final = "the event could not be stored; send it again"


class _Entry(Struct, frozen=True):
    message: Message
    outcome: asyncio.Future[Outcome]


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
        self._single = 0  # bodies that are being stored each by itself
        self._bytes = 0  # of bodies that are not answered for
        self._arrived = asyncio.Event()

    async def answer(self, scope: Scope, receive: Receive) -> Answer:
        """Take one request's body.

        Raises:
            MethodNotAllowed: it is no POST.
            BodyTooLarge: answered 413, and unread: it is more than the broker takes.
            EdgeFull: answered 503: too much is being read.
            BadSignature: answered 400, and mostly unread; nothing is stored.
            NotStored: answered 503, so Stripe sends it again.
            CallerGone: it hung up before all was there.
        """
        if scope.get("method") != "POST":
            raise MethodNotAllowed("send a POST with Stripe's event as JSON", allow="POST")
        signature = header(scope, b"stripe-signature")
        self._require_secrets()
        read_header(signature, now=time.time())  # who has none need not send a body
        # what is larger could not be stored
        most = min(self._max_body_bytes, self._connection.max_payload - HEADERS_BYTES)
        body = await read_body(scope, receive, most, None)
        await self.take(body, signature)
        return Answer(b"", (), status=202)

    async def take(self, body: bytes, signature: str | None) -> None:
        """Return once a body that Stripe signed is durable, and only then.

        Raises:
            BadSignature: Stripe did not, or at another time.
            NotStored: it is not known to be durable; send it again.
        """
        self._require_secrets()
        verify(body, signature, self._secrets, now=time.time())
        if self._bytes + len(body) > WAITING_BYTES:
            raise NotStored("too many events wait to be stored; send it again", retry_after_s=1)
        message = Message(stripe.subject(body), body)
        self._bytes += len(body)
        try:
            async with asyncio.timeout(self._patience_s):
                outcome = await (
                    self._alone(message) if self._single < FEW else self._queue(message)
                )
        except TimeoutError as error:
            raise NotStored(NOT_STORED, retry_after_s=1) from error
        finally:
            self._bytes -= len(body)
        if outcome.fate is not Fate.STORED:
            fate = outcome.fate.name
            log.error("event_not_stored", fate=fate, code=outcome.code, reason=outcome.reason)
            raise NotStored(NOT_STORED, retry_after_s=1)

    async def run(self) -> None:
        """Store what waits, for ever."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while entries := self._next():
                outcome = await self._commit([one.message for one in entries])
                for entry in entries:
                    if not entry.outcome.done():
                        entry.outcome.set_result(outcome)

    def _require_secrets(self) -> None:
        if not self._secrets:
            raise BadSignature(
                "no signing secret is configured: set TOLLGATE_STRIPE_WEBHOOK_SECRETS"
            )

    async def _alone(self, message: Message) -> Outcome:
        self._single += 1
        try:
            return await self._group.attempt([message])
        finally:
            self._single -= 1

    async def _queue(self, message: Message) -> Outcome:
        outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Entry(message, outcome))
        self._arrived.set()
        return await outcome

    def _next(self) -> list[_Entry]:
        """The next unit's entries, without those who gave up waiting."""
        entries: list[_Entry] = []
        size = 0
        while self._waiting and len(entries) < MAX_BATCH:
            length = len(self._waiting[0].message.payload)
            if entries and size + length > UNIT_BYTES:
                break
            entry = self._waiting.popleft()
            if not entry.outcome.done():
                entries.append(entry)
                size += length
        return entries

    async def _commit(self, unit: Sequence[Message]) -> Outcome:
        """Store a unit; what became of all its messages."""
        for attempt in range(BROKEN_TRIES):
            outcome = await self._group.attempt(unit)
            if outcome.fate is not Fate.BROKEN:
                break
            await asyncio.sleep(backoff(attempt))
        return outcome

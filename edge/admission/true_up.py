"""Counters are made to agree with the ledger where only the ledger knows.

A counter can say too much: what a killed edge had taken ahead, or an addition whose
answer was lost. That hurts only when it refuses somebody, and a counter that refuses
comes to rest, because nobody adds to what is full. What nobody has touched for longer
than a request can take is nobody's any more; then the ledger, once it has everything,
says what it should be.

A counter can also be gone, with its broker's disk; then it starts from the ledger.
"""

import time
from datetime import UTC, datetime
from typing import Final

import msgspec
import nats.errors
import structlog
from msgspec import Struct
from nats.aio.client import Client

from edge.admission.allowance import KEPT_S
from edge.admission.counters import Counters
from edge.errors import LedgerAway
from events.counters import is_past
from events.direct import Direct
from events.streams import USAGE, folded_up_to
from events.windows import EVER, Span
from ledger.db import Pool, acquire
from ledger.errors import LedgerUnavailable
from ledger.usage import Measured, measure_usage

log = structlog.get_logger()

AGAIN_S: Final = 5.0  # between two looks at one counter
SLACK_S: Final = 15.0  # more than an edge may stand still and go on with what it has
MAX_LOOKED: Final = 10_000
YOUNG_S: Final = 60.0  # a counter that is missing in a window so young was never there


class TrueUp:
    """Compares counters with the ledger."""

    def __init__(
        self, connection: Client, counters: Counters, direct: Direct, pool: Pool, *, hold_s: float
    ) -> None:
        self._connection = connection
        self._counters = counters
        self._direct = direct
        self._pool = pool
        self._rest_s = hold_s + KEPT_S + SLACK_S
        self._looked: dict[str, float] = {}

    async def start_from_ledger(self, subject: str, span: Span, measured: Measured) -> None:
        """Count what the ledger has, in a window in which nothing is counted yet.

        Raises:
            LedgerAway: nothing may be given on credit that nobody can see.
            BrokerAway: not known to be counted.
        """
        if span is not EVER and time.time() - span.start_ms / 1_000 < YOUNG_S:
            return
        try:
            amount = await self._ledger(span, measured)
        except LedgerUnavailable as error:
            if span is EVER:
                message = "the balance cannot be read right now; try again"
                raise LedgerAway(message, retry_after_s=1) from error
            log.warning("counter_starts_from_nothing", subject=subject, error=repr(error))
            return
        # who else finds it missing says the same: the first one counts
        await self._counters.add(subject, amount, once=f"{subject}.start")

    async def correct(self, stream: str, subject: str, span: Span, measured: Measured) -> bool:
        """Make a counter that refuses say what the ledger says, if it is at rest.

        Args:
            stream: Where the counter is.
            subject: Which one; if it is a `spent`, its budget's holds must be at rest, too.
            span: Its window.
            measured: What it counts.

        Returns:
            Whether it said too much.
        """
        now = time.time()
        if now - self._looked.get(subject, 0.0) < AGAIN_S:
            return False
        if len(self._looked) > MAX_LOOKED:
            self._looked.clear()
        self._looked[subject] = now
        try:
            found = await self._at_rest(stream, subject)
            if found is None or not await self._folded():
                return False
            excess = found.total - await self._ledger(span, measured)
        except (LedgerUnavailable, nats.errors.Error, OSError, TimeoutError) as error:
            log.warning("counter_not_trued_up", subject=subject, error=repr(error))
            return False
        if excess <= 0:
            return False
        # named for what was read: of two edges that see the same, one corrects it
        await self._counters.add(subject, -excess, once=f"{subject}.{found.sequence}")
        log.info("counter_trued_up", subject=subject, excess=excess)
        return True

    async def _at_rest(self, stream: str, subject: str) -> "_Found | None":
        budget = subject.removesuffix(".spent")
        filters = [subject] if budget == subject else [f"{budget}.>"]
        messages = await self._direct.last(stream, *filters)
        now = time.time()
        found = None
        for message in messages:
            headers = message.headers or {}
            name, total = headers["Nats-Subject"], _total(message.data)
            if name == subject:
                at = datetime.fromisoformat(headers["Nats-Time-Stamp"]).timestamp()
                if now - at < self._rest_s:
                    return None
                found = _Found(total, int(headers["Nats-Sequence"]))
            elif not is_past(name, now) and total:
                return None
        return found

    async def _folded(self) -> bool:
        """Whether all that was metered so far is in the ledger."""
        # not by what is pending: a message that was just stored is not counted there yet
        stored = (await self._connection.jetstream().stream_info(USAGE)).state.last_seq
        return await folded_up_to(self._connection) >= stored

    async def _ledger(self, span: Span, measured: Measured) -> int:
        async with acquire(self._pool) as connection:
            return await measure_usage(
                connection,
                measured,
                since=datetime.fromtimestamp(span.start_ms / 1_000, UTC),
                until=None if span is EVER else datetime.fromtimestamp(span.end_ms / 1_000, UTC),
            )


class LedgerOf(Struct, frozen=True):
    """What one window's counter should agree with."""

    true_up: TrueUp
    span: Span
    measured: Measured

    async def start(self, subject: str) -> None:
        """See `TrueUp.start_from_ledger`."""
        await self.true_up.start_from_ledger(subject, self.span, self.measured)

    async def correct(self, stream: str, subject: str) -> bool:
        """See `TrueUp.correct`."""
        return await self.true_up.correct(stream, subject, self.span, self.measured)


class _Found(Struct, frozen=True):
    total: int
    sequence: int


class _Counter(Struct):
    val: str


def _total(message: bytes) -> int:
    return int(msgspec.json.decode(message, type=_Counter).val)

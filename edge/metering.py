"""Durable metering by group commit: no answer without a stored usage event.

One unit (edge/commit.py) is in flight at a time: a single event when the edge is idle,
else all that arrived meanwhile. Who waits for nothing waits for nobody; who waits, waits
for one fsync.

The rules, and why:

* A unit is numbered when it is frozen. Its fate is then *stored*, *refused* or
  *unknown*; while it is unknown the same bytes are sent again until it is not.
* A refusal settles a unit only if no earlier attempt is unknown: that one may still
  be stored. The numbers of a refused unit go to the next, so an epoch has no gaps.
* A caller is told 503 when its patience ends. If its event turns out stored, a
  `UsageVoided` takes it back; if it was never sent, there is nothing to take back.
* What another edge may have stored is sent and voided all the same: its caller was told
  that it is not billed, whoever stored it.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import count
from typing import Final
from uuid import UUID

import structlog
from msgspec.structs import replace
from nats.aio.client import Client

from edge import metrics
from edge.commit import ACK_S, BACKOFF_S, STREAM_FULL, Fate, GroupCommit, Message, Outcome, backoff
from edge.errors import BrokerAway, EdgeError, MeterFull, NotMetered
from events import usage
from events.ids import new_id
from events.streams import MAX_BATCH
from events.usage import Numbered, Usage

log = structlog.get_logger()

MAX_WAITING: Final = 50_000  # events; beyond it the edge refuses at once
BROKEN_TRIES: Final = 8


class _Entry:
    """One event on its way: a record that somebody waits for, or a void."""

    __slots__ = ("again", "denied", "patience", "settled", "usage")

    def __init__(
        self,
        fact: Usage,
        *,
        settled: asyncio.Future[None] | None,
        patience: float,
        again: bool = False,
    ) -> None:
        self.usage = fact
        self.settled = settled  # None: a void, for which nobody waits
        self.patience = patience  # until then, by the monotonic clock
        self.again = again  # another edge may have stored it
        self.denied = False  # whether its caller was told that it is not billed

    @property
    def given_up(self) -> bool:
        """Whether the caller has been told something else by now."""
        return self.settled is not None and self.settled.done()

    @property
    def is_owed(self) -> bool:
        """Whether it must get through, however long it takes: a void, or what will have one."""
        return self.settled is None or (self.again and self.denied)

    def fail(self, error: EdgeError) -> None:
        """Tell the caller, if there is one and it has been told nothing yet."""
        if self.settled is not None and not self.settled.done():
            self.denied = isinstance(error, NotMetered)
            self.settled.set_exception(error)


class Meter:
    """Stores usage events in JetStream, in units, with gap-free numbers."""

    def __init__(
        self,
        connection: Client,
        *,
        publish_timeout_s: float,
        ack_timeout_s: float = ACK_S,
        epoch: UUID | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.epoch = epoch or new_id()
        self._group = GroupCommit(connection, ack_timeout_s=ack_timeout_s)
        self._patience_s = publish_timeout_s
        self._clock = clock
        self._sequence = 0
        self._waiting: deque[_Entry] = deque()
        self._arrived = asyncio.Event()
        self._closing = False
        self._abandoned = False

    async def record(self, fact: Usage, *, again: bool = False) -> None:
        """Return once the event is durable, and only then.

        Args:
            fact: What to state.
            again: Whether another edge may have stated it before it died.

        Raises:
            MeterFull: the stream is at its limit; nothing was stored.
            NotMetered: not known to be stored in time. Should it turn out to be, by this
                edge or by another one, it is voided. The same holds where the caller of this
                method is cancelled; but not with `again`: who goes on does so under its id.
            BrokerAway: with `again`, this edge is leaving; another one's stays as it is.
        """
        if again and self._closing:  # nobody would void it any more
            raise BrokerAway("this edge is leaving; try again", retry_after_s=1)
        if self._closing or (len(self._waiting) >= MAX_WAITING and not again):
            message = "too many answers wait to be metered; try again"
            raise NotMetered(message, retry_after_s=1)
        settled: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(
            _Entry(fact, settled=settled, patience=self._clock() + self._patience_s, again=again)
        )
        self._arrived.set()
        await settled

    def void(self, fact: Usage) -> None:
        """Take back, sooner or later, a record that was stored."""
        self._waiting.append(_Entry(fact, settled=None, patience=0.0))
        self._arrived.set()

    async def run(self) -> None:
        """Store what arrives, until `close` and until nothing is left."""
        while not (self._closing and not self._waiting) and not self._abandoned:
            await self._arrived.wait()
            self._arrived.clear()
            while not self._abandoned and (entries := self._take()):
                await self._settle(entries)

    def close(self) -> None:
        """Take nothing more; `run` returns when what was taken is stored."""
        self._closing = True
        self._arrived.set()

    def abandon(self) -> None:
        """End `run` soon, whatever is left: the process has to go.

        Not by cancelling it: under Python 3.11 a request of nats-py's can swallow that.
        """
        self._abandoned = True
        self._arrived.set()
        log.error("metering_abandoned", waiting=self.unsettled)

    @property
    def sequence(self) -> int:
        """The last number that was given; all up to it are stored."""
        return self._sequence

    @property
    def unsettled(self) -> int:
        """Events that wait for their unit."""
        return len(self._waiting)

    def _take(self) -> list[_Entry]:
        """The next unit's entries; who gave up before being frozen is not sent, unless owed."""
        entries: list[_Entry] = []
        while self._waiting and len(entries) < MAX_BATCH:
            entry = self._waiting.popleft()
            if entry.given_up and not entry.is_owed:
                continue
            if entry.again and entries:  # alone, or nobody could tell whether it was stored before
                self._waiting.appendleft(entry)
                break
            entries.append(entry)
            if entry.again:
                break
        return entries

    def _freeze(self, entries: Sequence[_Entry]) -> list[Message]:
        numbers = count(self._sequence + 1)
        unit = []
        for entry in entries:
            number = Numbered(epoch=self.epoch, sequence=next(numbers))
            state = usage.voided if entry.settled is None else usage.recorded
            event = state(entry.usage, number)
            unit.append(Message(usage.subject(entry.usage), usage.encode(event), event.id))
        return unit

    async def _settle(self, entries: list[_Entry]) -> None:
        unit = self._freeze(entries)
        with metrics.METER_COMMIT.time():
            outcome = await self._commit(unit, entries)
        metrics.METER_UNIT.observe(len(unit))
        if outcome.fate is Fate.STORED:
            if not outcome.repeat:  # else the number was not used
                self._sequence += len(unit)
            for entry in entries:
                self._stored(entry)
            return
        log.error("metering_refused", events=len(unit), code=outcome.code, reason=outcome.reason)
        for entry in entries:
            entry.fail(_refusal(outcome))
            if entry.is_owed:
                self._waiting.append(entry)
        if all(entry.is_owed for entry in (*entries, *self._waiting)):
            await asyncio.sleep(BACKOFF_S[-1])

    def _stored(self, entry: _Entry) -> None:
        if entry.settled is None:
            metrics.METER_VOIDED.inc()
        elif not entry.settled.done():
            entry.settled.set_result(None)
        elif entry.denied or not entry.again:  # its caller was told 503, or is gone
            self.void(entry.usage)

    async def _commit(self, unit: Sequence[Message], entries: Sequence[_Entry]) -> Outcome:
        """Send a unit until its fate is known: stored, or refused and nothing else."""
        uncertain = False
        for attempt in count():
            outcome = await self._group.attempt(unit)
            if outcome.fate is Fate.SEEN:  # an earlier attempt got through, at least in part
                return await self._commit_singly(unit, entries)
            if outcome.fate is Fate.STORED:
                return replace(outcome, repeat=outcome.repeat and not uncertain)
            if outcome.fate is Fate.REFUSED and not uncertain:
                return outcome
            uncertain = uncertain or outcome.fate is Fate.UNKNOWN
            if outcome.fate is Fate.BROKEN and not uncertain and attempt == BROKEN_TRIES:
                return outcome
            if self._abandoned:
                return outcome
            log.warning(
                "metering_again",
                fate=outcome.fate.name,
                events=len(unit),
                attempt=attempt,
                code=outcome.code,
                reason=outcome.reason,
            )
            self._give_up_on_the_impatient(entries)
            await asyncio.sleep(backoff(attempt))
        raise AssertionError  # count() does not end

    async def _commit_singly(self, unit: Sequence[Message], entries: Sequence[_Entry]) -> Outcome:
        """Send the members of a unit one by one; those already stored say so."""
        for message in unit:
            for attempt in count():
                outcome = await self._group.attempt([message])
                if outcome.fate is Fate.STORED:
                    break
                if self._abandoned:
                    return outcome
                self._give_up_on_the_impatient(entries)
                await asyncio.sleep(backoff(attempt))
        return Outcome(Fate.STORED)

    def _give_up_on_the_impatient(self, entries: Sequence[_Entry]) -> None:
        """Tell 503 to those whose patience has ended, in this unit and behind it."""
        now = self._clock()
        for entry in (*entries, *self._waiting):
            if entry.patience < now:
                message = "the answer could not be metered in time; it is not billed, try again"
                entry.fail(NotMetered(message, retry_after_s=1))


def _refusal(outcome: Outcome) -> EdgeError:
    if outcome.code in STREAM_FULL:
        message = "the usage stream is full and nothing can be metered; the operator was told"
        return MeterFull(message, retry_after_s=60)
    message = "the answer could not be metered; it is not billed, try again"
    return NotMetered(message, retry_after_s=1)

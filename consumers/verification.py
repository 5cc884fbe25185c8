"""Compares what edges stated, what the stream has and what the ledger made of it."""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

import msgspec
from msgspec import Struct
from nats.aio.client import Client

from consumers.redelivery import REASON
from consumers.stripe.meter_comparison import compare_meters
from events import edges, streams, usage
from events.audits import Finding, UsageAudited
from events.direct import Direct
from events.ids import time_of
from events.usage import UsageEvent
from ledger import verification
from ledger.db import Connection
from ledger.stripe.api import StripeApi
from ledger.verification import Count, Difference, full_hour

BATCH: Final = 1_000
FOLDED_S: Final = 30.0  # to wait for the fold to come up with what was stated until now
LATE: Final = timedelta(days=1)  # an event may be that much older than its neighbours by number
PARKED: Final = f"parked.{streams.USAGE}"

Numbers = Mapping[UUID, set[int]]  # by epoch


class Stored(Struct, frozen=True):
    """A message of a stream."""

    sequence: int  # in the stream
    reason: str  # for which it was parked, if it was
    data: bytes


class Verifier:
    """One verification.

    Args:
        nats: Connected.
        ledger: With patience for long queries.
        since: Events from then on are verified.
        until: And before then.
        kept_since: From then on all events are kept; edges that began before may have
            numbers of which nothing is left.
        stripe: Who is asked what it was told; None: nobody.
        customers: So many are asked for, at random; None: all.
    """

    def __init__(
        self,
        nats: Client,
        ledger: Connection,
        *,
        since: datetime,
        until: datetime,
        kept_since: datetime,
        stripe: StripeApi | None = None,
        customers: int | None = None,
    ) -> None:
        self._nats = nats
        self._ledger = ledger
        self._since = full_hour(since)
        self._until = until
        self._kept_since = kept_since
        self._stripe = stripe
        self._customers = customers
        self._direct = Direct(nats)
        self._last = 0  # message of the stream that should be folded by now
        self._findings: list[Finding] = []

    async def verify(self, *, read_stream: bool) -> UsageAudited:
        """Find out what does not fit.

        Args:
            read_stream: Also compare every event that the stream still has with its row.
        """
        await verification.be_patient(self._ledger)
        await self._direct.start()
        told = await self._told()
        await self._until_folded()
        parked = await self._parked()
        counts = await verification.count_sequences(self._ledger, self._since)
        missing = await self._missing(counts, told, parked)
        double = await self._doubles(counts)
        for wrong in await verification.find_wrong_totals(
            self._ledger, self._since, full_hour(self._until) + verification.HOUR
        ):
            what = (
                f"account {wrong.account_id}, key {wrong.key_id}, {wrong.model}/{wrong.task}, "
                f"status {wrong.status}, hour {wrong.hour:%Y-%m-%d %H:%M}: events add up to "
                f"{_amounts(wrong.should_be)}, totals say {_amounts(wrong.is_)}"
            )
            self._findings.append(Finding(kind="total", what=what))
        self._findings += await compare_meters(
            self._ledger, self._stripe, self._since, self._until, customers=self._customers
        )
        if read_stream:
            await self._compare_stream(parked)
        return UsageAudited(
            since=self._since,
            until=self._until,
            events=sum(count.events for count in counts.values()),
            missing=missing,
            double=double,
            findings=self._findings,
            timestamp=datetime.now(UTC),
        )

    async def _told(self) -> Mapping[UUID, int]:
        """What each edge says that it has stated."""
        words = await self._direct.last(streams.EDGES, edges.SUBJECTS)
        counted = [edges.decode(word.data) for word in words]
        return {one.epoch: one.sequence for one in counted}

    async def _until_folded(self) -> None:
        """Give the fold time to come up with what the stream has now."""
        jetstream = self._nats.jetstream()
        stored = self._last = (await jetstream.stream_info(streams.USAGE)).state.last_seq
        left = 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FOLDED_S):
                while True:
                    left = stored - await streams.folded_up_to(self._nats)
                    if left <= 0:
                        return
                    await asyncio.sleep(0.1)
        what = f"{left:,} events wait in the stream; are the consumers running?"
        self._findings.append(Finding(kind="unfolded", what=what, number=left))

    async def _parked(self) -> Numbers:
        """The numbers of events that could not be folded."""
        numbers: dict[UUID, set[int]] = defaultdict(set)
        async for message in _messages(self._direct, streams.PARKED, PARKED):
            try:
                event = usage.decode(message.data)
                number = event.edge
            except (msgspec.DecodeError, UnicodeDecodeError, ValueError):
                what = f"message {message.sequence} of PARKED: {message.reason}"
            else:
                numbers[number.epoch].add(number.sequence)
                what = f"{_name(event)}: {message.reason}"
            self._findings.append(Finding(kind="parked", what=what))
        return numbers

    async def _missing(
        self, counts: Mapping[UUID, Count], told: Mapping[UUID, int], parked: Numbers
    ) -> int:
        """Numbers that an edge gave and that nobody has."""
        suspected = sorted(
            epoch
            for epoch in counts.keys() | told.keys()
            if not self._is_whole(counts.get(epoch), epoch, told.get(epoch, 0))
        )
        if not suspected:
            return 0
        since = self._since - LATE
        found = await verification.count_sequences(self._ledger, since, suspected)
        gaps = await verification.find_gaps(self._ledger, suspected, since)
        total = 0
        for epoch in suspected:
            ranges = [(gap.first, gap.last) for gap in gaps if gap.epoch == epoch]
            ranges += self._ends(epoch, found.get(epoch), told.get(epoch, 0))
            for first, last in sorted(ranges):
                numbers = set(range(first, last + 1)) - parked.get(epoch, set())
                for run in _runs(sorted(numbers)):
                    total += len(run)
                    self._findings.append(_gap(epoch, run))
        return total

    def _is_whole(self, count: Count | None, epoch: UUID, told: int) -> bool:
        return (
            count is not None
            and count.numbers == count.last - count.first + 1
            and not self._ends(epoch, count, told)
        )

    def _ends(self, epoch: UUID, count: Count | None, told: int) -> list[tuple[int, int]]:
        """Numbers that are missing before the first, and after the last that is there."""
        began = time_of(epoch)
        if count is None:
            # an edge of another time; or none of its events is left
            return [(1, told)] if told and began >= max(self._since, self._kept_since) else []
        ends = []
        if count.first > 1 and began >= max(self._since, self._kept_since):
            ends.append((1, count.first - 1))
        if told > count.last:
            ends.append((count.last + 1, told))
        return ends

    async def _doubles(self, counts: Mapping[UUID, Count]) -> int:
        suspected = [one.epoch for one in counts.values() if one.events != one.numbers]
        if not suspected:
            return 0
        doubles = await verification.find_doubles(self._ledger, suspected, self._since)
        for double in doubles:
            requests = ", ".join(map(str, double.request_ids))
            what = f"number {double.sequence} of edge {double.epoch}: requests {requests}"
            self._findings.append(
                Finding(kind="double", what=what, number=len(double.request_ids) - 1)
            )
        return sum(one.events - one.numbers for one in counts.values())

    async def _compare_stream(self, parked: Numbers) -> None:
        """Read what the stream still has, and compare it with the rows."""
        last: dict[UUID, int] = {}
        events: list[UsageEvent] = []
        async for message in _messages(self._direct, streams.USAGE, usage.SUBJECTS):
            if message.sequence > self._last:
                break
            try:
                event = usage.decode(message.data)
                number = event.edge
            except (msgspec.DecodeError, UnicodeDecodeError, ValueError):
                continue  # parked, by the fold
            before = last.get(number.epoch)
            position = f"message {message.sequence} of {streams.USAGE}"
            if before is not None and number.sequence <= before:
                what = f"{position} repeats {_name(event)}; the ledger counts it once"
                self._findings.append(Finding(kind="double", what=what))
            elif before is not None and number.sequence > before + 1:
                gone = f"numbers {before + 1} to {number.sequence - 1} of edge {number.epoch}"
                what = f"{position}: before it, {gone} are not in the stream any more"
                lost = number.sequence - before - 1
                self._findings.append(Finding(kind="missing", what=what, number=lost))
            last[number.epoch] = max(before or 0, number.sequence)
            is_parked = number.sequence in parked.get(number.epoch, ())
            if self._since <= event.data.started_at < self._until and not is_parked:
                events.append(event)
            if len(events) == BATCH:
                await self._compare(events)
                events.clear()
        await self._compare(events)

    async def _compare(self, events: Sequence[UsageEvent]) -> None:
        for found in await verification.compare_events(self._ledger, events):
            self._findings.append(_difference(found))


def _difference(found: Difference) -> Finding:
    name = _name(found.event)
    if not found.fields:
        return Finding(kind="missing", what=f"{name} is in the stream and not in the ledger")
    fields = ", ".join(found.fields)
    return Finding(kind="altered", what=f"{name}: the ledger has another {fields} than the stream")


def _name(event: UsageEvent) -> str:
    usage_ = event.data
    part = f" part {usage_.part}" if usage_.part else ""
    return f"request {usage_.request_id}{part} (number {event.sequence} of {event.source})"


def _gap(epoch: UUID, run: range) -> Finding:
    numbers = f"numbers {run[0]} to {run[-1]}" if len(run) > 1 else f"number {run[0]}"
    return Finding(kind="missing", what=f"{numbers} of edge {epoch}", number=len(run))


def _runs(numbers: Sequence[int]) -> Iterator[range]:
    """Sorted numbers as ranges."""
    start = 0
    for position in range(1, len(numbers) + 1):
        if position == len(numbers) or numbers[position] != numbers[position - 1] + 1:
            yield range(numbers[start], numbers[position - 1] + 1)
            start = position


def _amounts(quantities: Mapping[str, int]) -> str:
    return ", ".join(f"{amount:,} {name}" for name, amount in quantities.items())


async def _messages(direct: Direct, stream: str, subjects: str) -> AsyncIterator[Stored]:
    """All that a stream has, oldest first."""
    sequence = 0
    while found := await direct.since(stream, sequence + 1, subjects):
        for message in found:
            headers = message.headers or {}
            sequence = int(headers["Nats-Sequence"])
            yield Stored(sequence, headers.get(REASON, ""), message.data)

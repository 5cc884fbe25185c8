"""Tells Stripe's meters what was used.

Source: https://docs.stripe.com/billing/subscriptions/usage-based/recording-usage-api
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Final
from uuid import UUID

import structlog
from msgspec import Struct

from consumers import metrics
from consumers.keeping import keep_doing
from consumers.stripe.meter_doubts import Told, resolve
from events.ids import new_id
from events.meters import Meters
from events.plans import read_meters
from ledger.db import Connection, Pool, acquire, only_one
from ledger.errors import (
    MeterChanged,
    StripeError,
    StripeKeyRefused,
    StripeRefused,
    StripeUnavailable,
    UnreadableObject,
)
from ledger.stripe import meters as ledger_meters
from ledger.stripe.api import StripeApi
from ledger.stripe.meter_list import ListedMeter, list_meters
from ledger.stripe.meters import MeterEvent

log = structlog.get_logger()

BATCH: Final = 50  # that are noted as perhaps sent at once: some seconds' worth

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The time in UTC."""
    return datetime.now(UTC)


class Exported(Struct, kw_only=True):
    """What one pass came to."""

    frozen: int = 0
    sent: int = 0
    parked: int = 0
    held: list[str] = []  # why meters are not told of


class Exporter:
    """One pass over all meters: freeze what is new, and send what is frozen.

    Args:
        ledger: A session that holds the lock.
        stripe: Who is told.
        stop: Set, when what is left is to be left to a later pass.
        clock: In UTC.
    """

    def __init__(
        self, ledger: Connection, stripe: StripeApi, stop: asyncio.Event, clock: Clock = utc_now
    ) -> None:
        self._ledger = ledger
        self._stripe = stripe
        self._stop = stop
        self._clock = clock
        self._meters: Mapping[str, ListedMeter] = {}  # by what their events are called
        self._unanswered: list[StripeError] = []
        self._done = Exported()

    async def export(self, meters: Meters) -> Exported:
        """Do so.

        Raises:
            StripeUnavailable, StripeKeyRefused, UnreadableObject: the rest is sent by a later
                pass.
        """
        for meter in meters:
            try:
                self._done.frozen += await ledger_meters.freeze(self._ledger, meter, self._clock())
            except MeterChanged as changed:
                self._done.held.append(str(changed))
        wanted = set(await ledger_meters.find_open(self._ledger))
        if wanted:
            self._meters = await self._ready(wanted)
            await self._resolve()
            self._done.parked += await ledger_meters.park_passed(self._ledger, self._clock())
            await self._send_all()
        for error in self._unanswered:
            raise error
        return self._done

    async def _send_all(self) -> None:
        """Send what is frozen; a customer of whom Stripe has no answer stops nobody else."""
        unanswered: dict[UUID, StripeError] = {}
        while not self._stop.is_set():
            claimed = await ledger_meters.claim(
                self._ledger, list(self._meters), self._clock(), BATCH + len(unanswered)
            )
            batch = [event for event in claimed if event.identifier not in unanswered]
            if not batch or not await self._send(batch, unanswered):
                break
        self._unanswered += unanswered.values()

    async def _ready(self, wanted: set[str]) -> Mapping[str, ListedMeter]:
        """Those of Stripe's meters that add up what they are told."""
        active = await list_meters(self._stripe)
        ready = {}
        for name in sorted(wanted):
            meter = active.get(name)
            if isinstance(meter, ListedMeter) and not meter.unfit:
                ready[name] = meter
            else:
                self._done.held.append(f"meter {name!r}: {_unfit(meter)}")
        return ready

    async def _resolve(self) -> None:
        """Find out of events that Stripe might count twice whether it has them."""
        names, now = list(self._meters), self._clock()
        doubtful = await ledger_meters.find_doubtful(self._ledger, names, now)
        for _, group in groupby(doubtful, lambda event: (event.event_name, event.customer)):
            if self._stop.is_set():
                return
            events = list(group)
            meter_id = self._meters[events[0].event_name].id
            missing: Sequence[MeterEvent] = ()
            try:
                missing, told = await resolve(self._ledger, self._stripe, meter_id, events)
            except StripeRefused as refused:
                told = [(event, "parked", str(refused)) for event in events]
            except UnreadableObject as error:  # they wait; other customers' sums may be clear
                self._unanswered.append(error)
                continue
            await self._settle(told)
            await ledger_meters.note_not_there(self._ledger, missing, self._clock())

    async def _send(self, batch: Sequence[MeterEvent], unanswered: dict[UUID, StripeError]) -> bool:
        """Send events, those of one customer and meter one after the other: Stripe asks for it.

        Returns:
            Whether any was answered.
        """
        queues: dict[tuple[str, str], list[MeterEvent]] = defaultdict(list)
        for event in batch:
            queues[event.customer, event.event_name].append(event)
        answers = await asyncio.gather(*map(self._send_in_turn, queues.values()))
        told = [one for answered, _ in answers for one in answered]
        for (answered, error), queue in zip(answers, queues.values(), strict=True):
            if error is not None:
                unanswered.update((event.identifier, error) for event in queue[len(answered) :])
        await self._settle(told)
        return bool(told)

    async def _send_in_turn(
        self, queue: Sequence[MeterEvent]
    ) -> tuple[Sequence[Told], StripeError | None]:
        """What was answered, until something was not."""
        told: list[Told] = []
        try:
            for event in queue:
                told.append(await self._tell(event))  # noqa: PERF401 - some, where one fails
        except (StripeUnavailable, StripeKeyRefused) as error:
            return told, error
        return told, None

    async def _tell(self, event: MeterEvent) -> Told:
        meter = self._meters[event.event_name]
        payload = {
            meter.customer_mapping.event_payload_key: event.customer,
            meter.value_settings.event_payload_key: str(event.amount),
        }
        try:
            await self._stripe.post(
                "/v1/billing/meter_events",
                # the identifier keeps it from being counted twice; a key that was used before
                # would only bring an old answer back, an error for a day
                idempotency_key=str(new_id()),
                event_name=event.event_name,
                identifier=str(event.identifier),
                timestamp=event.timestamp,
                payload=payload,
            )
        except StripeRefused as refused:
            if not _is_there(refused):
                return event, "parked", str(refused)
        return event, "sent", ""

    async def _settle(self, told: Sequence[Told]) -> None:
        await ledger_meters.settle(self._ledger, told)
        self._done.sent += sum(fate == "sent" for _, fate, _ in told)
        self._done.parked += sum(fate == "parked" for _, fate, _ in told)


async def export(
    pool: Pool, stripe: StripeApi, meters: Meters, stop: asyncio.Event, clock: Clock = utc_now
) -> Exported | None:
    """Make one pass; None where somebody else is at it. Raises as `Exporter.export` does."""
    async with acquire(pool) as ledger, only_one(ledger, "stripe_meter") as ours:
        if not ours:
            return None
        return await Exporter(ledger, stripe, stop, clock).export(meters)


async def keep_metered(
    pool: Pool, stripe: StripeApi, plans: Path, stop: asyncio.Event, *, every_s: float
) -> None:
    """Do so until `stop`, with the meters that the file has by then."""

    async def meter() -> float:
        found = await export(pool, stripe, read_meters(plans), stop)
        if found is not None:
            _say(found)
        return every_s

    await keep_doing("stripe_metering", meter, stop, retry_s=every_s)


def _say(found: Exported) -> None:
    metrics.METERED_AT.set(time.time())
    metrics.METER_EVENTS.labels("sent").inc(found.sent)
    metrics.METER_EVENTS.labels("parked").inc(found.parked)
    say = log.error if found.parked or found.held else log.info
    say(
        "stripe_metered", frozen=found.frozen, sent=found.sent, parked=found.parked, held=found.held
    )


def _unfit(meter: ListedMeter | UnreadableObject | None) -> str:
    """Why a meter of Stripe's cannot be told."""
    if meter is None:
        return "Stripe has no active meter with this event name"
    return meter.unfit if isinstance(meter, ListedMeter) else str(meter)


def _is_there(refused: StripeRefused) -> bool:
    """Whether Stripe refused an event because it has it. The code is not always there."""
    return refused.code == "duplicate_meter_event" or "already exists with identifier" in str(
        refused
    )

"""What Stripe's meters are told: frozen first, sent afterwards, never changed.

Totals of closed hours are frozen as meter events, one for each account, meter and hour. Usage
that is folded later becomes another event of the same hour: the difference between the total
and all that was frozen of it. So the sum of what is frozen is always a total that there was,
and what was frozen is sent as it is, however often.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta
from typing import Final, Literal
from uuid import UUID

from msgspec import Struct

from events.meters import Meter
from ledger import _sql
from ledger.db import Connection
from ledger.errors import MeterChanged, NothingParked
from ledger.verification import HOUR, PATIENCE_S, full_hour

_SQL = _sql.load("meters.sql")

Fate = Literal["frozen", "sent", "parked", "written off"]

#: After an hour's end, before it is closed: the fold is up with what came within it.
CLOSED: Final = timedelta(minutes=2)
#: Stripe takes events of the last 35 days; one is for what waits to be sent.
TAKEN: Final = timedelta(days=34)
#: What Stripe was told is kept for invoices of a year and a month.
KEPT: Final = timedelta(days=400)
#: Stripe knows an identifier for 24 hours at least; an hour is for clocks, and for us.
SURE: Final = timedelta(hours=23)

_TOO_OLD: Final = (
    f"its hour is more than {TAKEN.days} days ago: Stripe takes it no more; "
    "charge for it otherwise, and write it off"
)


class MeterEvent(Struct, frozen=True, kw_only=True):
    """What Stripe is told of one hour of one account: once, or once more."""

    event_name: str
    hour: datetime
    account_id: UUID
    number: int  # of this hour's, from 1
    customer: str
    amount: int  # negative takes back
    identifier: UUID

    @property
    def timestamp(self) -> int:
        """The hour's last second, in seconds since 1970.

        Not its first: that can be before a subscription that began within the hour, and in a
        billing period that was over before the hour was.
        """
        return int((self.hour + HOUR).timestamp()) - 1


class ParkedEvent(MeterEvent, frozen=True, kw_only=True):
    """One that Stripe did not take, and why."""

    reason: str


class UnsentEvent(ParkedEvent, frozen=True, kw_only=True):
    """One that Stripe did not take, or was not yet told."""

    fate: Fate


class Counted(Struct, frozen=True, kw_only=True):
    """How many events of a meter have one fate, and what they come to."""

    event_name: str
    fate: Fate
    events: int
    amount: int


class Unlinked(Struct, frozen=True, kw_only=True):
    """What accounts have used of a meter that are no customers of Stripe's, while it can count."""

    event_name: str
    accounts: int
    amount: int


async def freeze(connection: Connection, meter: Meter, now: datetime) -> int:
    """Write down what Stripe is to be told of a meter's closed hours, and was not yet.

    Returns:
        How many events that makes.

    Raises:
        MeterChanged: it is of something else than what Stripe was told before.
    """
    since = datetime.combine(meter.since, time(), UTC)
    async with connection.transaction():
        await connection.execute(f"SET LOCAL statement_timeout = '{PATIENCE_S:.0f}s'")
        known = await connection.fetchval(
            _SQL["declare_meter"], meter.event_name, meter.unit, list(meter.only), since
        )
        if known is None:
            raise MeterChanged(meter.event_name)
        events: int = await connection.fetchval(
            _SQL["freeze"], meter.event_name, *_closed(now), timeout=PATIENCE_S
        )
    return events


async def claim(
    connection: Connection, event_names: Sequence[str], now: datetime, limit: int
) -> Sequence[MeterEvent]:
    """The next events to be sent, each noted as perhaps sent."""
    rows = await connection.fetch(_SQL["claim"], list(event_names), now, now - SURE, limit)
    return [MeterEvent(**row) for row in rows]


async def settle(connection: Connection, fates: Sequence[tuple[MeterEvent, Fate, str]]) -> None:
    """Note what became of events: their fate, and the reason of one that is parked."""
    if not fates:
        return
    columns = zip(
        *((e.event_name, e.hour, e.account_id, e.number, fate, why) for e, fate, why in fates),
        strict=True,
    )
    await connection.execute(_SQL["settle"], *map(list, columns))


async def find_doubtful(
    connection: Connection, event_names: Sequence[str], now: datetime
) -> Sequence[MeterEvent]:
    """Events that Stripe may have, and would count once more; by meter, customer and hour."""
    rows = await connection.fetch(_SQL["doubtful"], list(event_names), now - SURE)
    return [MeterEvent(**row) for row in rows]


async def note_not_there(
    connection: Connection, events: Sequence[MeterEvent], now: datetime
) -> None:
    """Stripe does not have them: let them be sent."""
    await connection.execute(_SQL["not_there"], [event.identifier for event in events], now)


async def park_passed(connection: Connection, now: datetime) -> int:
    """Park what Stripe takes no more; how many."""
    status = await connection.execute(_SQL["park_passed"], _closed(now)[0], _TOO_OLD)
    return int(status.rpartition(" ")[2])


async def find_open(connection: Connection) -> Sequence[str]:
    """The meters of which there is something to be sent."""
    return [row["event_name"] for row in await connection.fetch(_SQL["open"])]


async def find_parked(connection: Connection, limit: int) -> Sequence[ParkedEvent]:
    """What Stripe did not take, oldest first."""
    return [ParkedEvent(**row) for row in await connection.fetch(_SQL["parked"], limit)]


async def find_unsent(
    connection: Connection, frozen_before: datetime, limit: int
) -> Sequence[UnsentEvent]:
    """What is parked, and what should have been sent by now; oldest first."""
    rows = await connection.fetch(_SQL["unsent"], frozen_before, limit)
    return [UnsentEvent(**row) for row in rows]


async def release(connection: Connection) -> int:
    """Have everything that is parked sent once more; how many."""
    return int((await connection.execute(_SQL["release"])).rpartition(" ")[2])


async def write_off(connection: Connection, identifier: UUID, reason: str) -> None:
    """Give up an event that is parked.

    Raises:
        NothingParked: there is none with this identifier.
    """
    if await connection.execute(_SQL["write_off"], identifier, reason) != "UPDATE 1":
        raise NothingParked(identifier)


async def count_events(connection: Connection) -> Sequence[Counted]:
    """How far each meter is."""
    rows = await connection.fetch(_SQL["count_events"], timeout=PATIENCE_S)
    return [Counted(**row) for row in rows]


async def find_unlinked(connection: Connection, now: datetime) -> Sequence[Unlinked]:
    """What Stripe is not told, since its account is no customer there."""
    rows = await connection.fetch(_SQL["without_customer"], *_closed(now), timeout=PATIENCE_S)
    return [Unlinked(**{**row, "amount": int(row["amount"])}) for row in rows]


def _closed(now: datetime) -> tuple[datetime, datetime]:
    """The hours that are over, and that Stripe still takes: the first, and the one after them."""
    return full_hour(now - TAKEN) + HOUR, full_hour(now - CLOSED)

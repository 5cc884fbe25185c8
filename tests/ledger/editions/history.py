"""Months of usage, and what the views have to say of it."""

import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from msgspec.structs import replace

from events.ids import new_id
from events.usage import Quantities, UsageEvent, UsageVoided
from ledger.db import Connection
from tests.usage import a_usage, recorded, voided

QUANTITIES: Final = Quantities.__struct_fields__
GROUP: Final = ("bucket", "account_id", "key_id", "model", "task", "status")
UNITS: Final = ("minute", "hour", "day", "month")

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

Rows = Sequence[tuple[Any, ...]]


def id_at(time: datetime, chosen: random.Random) -> UUID:
    """A UUIDv7 of that time."""
    marks = 0xF << 76 | 0b11 << 62
    tail = new_id().int & marks | chosen.getrandbits(80) & ~marks
    milliseconds = (time - EPOCH) // timedelta(milliseconds=1)
    return UUID(int=milliseconds << 80 | tail)


def some_events(times: Iterable[datetime], *, seed: int = 1) -> Sequence[UsageEvent]:
    """An event at each time, of some accounts, keys and models; a few more are voids or parts."""
    chosen = random.Random(seed)
    accounts = [UUID(int=chosen.getrandbits(128)) for _ in range(3)]
    models = (("echo", "echo"), ("Ünïcode, 'quoted'", "entities"), ("a_B", "embeddings"))
    events: list[UsageEvent] = []
    for time in times:
        model, task = chosen.choice(models)
        amounts = {name: chosen.randrange(1_000) for name in QUANTITIES if name != "requests"}
        fact = replace(
            a_usage(chosen.choice(accounts), request_id=id_at(time, chosen), **amounts),
            key_id=chosen.choice(("key-a", "key-b", "Key-B")),
            model=model,
            task=task,
            status=chosen.choice((200, 200, 200, 400, 503)),
        )
        events.append(recorded(fact))
        if chosen.random() < 0.1:
            events.append(voided(fact))
        if chosen.random() < 0.1:
            events.append(recorded(replace(fact, part=1)))
    chosen.shuffle(events)
    return events


def some_times(
    count: int, youngest: timedelta, oldest: timedelta, *, seed: int = 1
) -> list[datetime]:
    """Times of those ages, at random, but some of them within the same minute."""
    chosen, now = random.Random(seed), datetime.now(UTC)
    span = (oldest - youngest) / timedelta(seconds=1)
    times: list[datetime] = []
    while len(times) < count:
        time = now - youngest - timedelta(seconds=chosen.random() * span)
        near = [time, time - timedelta(seconds=1), time - timedelta(minutes=1)]
        times += [one for one in near if one > now - oldest]
    return times[:count]


def expected(events: Iterable[UsageEvent], unit: str) -> Rows:
    """The view's rows, added up here."""
    sums: dict[tuple[Any, ...], Counter[str]] = {}
    for event in {event.id: event for event in events}.values():
        usage = event.data
        group = (
            _truncated(usage.started_at, unit),
            usage.account_id,
            usage.key_id,
            usage.model,
            usage.task,
            usage.status,
        )
        sign = -1 if isinstance(event, UsageVoided) else 1
        total = sums.setdefault(group, Counter())
        for name in QUANTITIES:
            total[name] += sign * getattr(usage.quantities, name)
    return sorted((*group, *(total[name] for name in QUANTITIES)) for group, total in sums.items())


def _truncated(time: datetime, unit: str) -> datetime:
    hour = 0 if unit in {"day", "month"} else time.hour
    minute = time.minute if unit == "minute" else 0
    day = 1 if unit == "month" else time.day
    return datetime(time.year, time.month, day, hour, minute, tzinfo=UTC)


async def rows_of(connection: Connection, unit: str) -> Rows:
    """What a view says."""
    columns = ", ".join((*GROUP, *QUANTITIES))
    return sorted(map(tuple, await connection.fetch(f"SELECT {columns} FROM usage_by_{unit}")))


async def answers(connection: Connection) -> Mapping[str, Rows]:
    """What all the views say."""
    return {unit: await rows_of(connection, unit) for unit in UNITS}

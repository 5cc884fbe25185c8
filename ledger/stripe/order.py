"""Which of the states that events of one second carry is the last one."""

import json
from collections.abc import Sequence
from typing import Any

import asyncpg
import msgspec
from msgspec import Struct

Json = dict[str, Any]


class Snapshot(Struct, frozen=True, kw_only=True):
    """An object as one event carried it."""

    event_id: str
    type: str  # of the event
    object: Json
    previous: Json | None  # what an update says it changed, with the values from before


def snapshot(row: asyncpg.Record) -> Snapshot:
    """From a row of the journal's; what is no set of values from before says nothing."""
    previous = row["previous"] and msgspec.json.decode(row["previous"])
    return Snapshot(
        event_id=row["event_id"],
        type=row["type"],
        object=msgspec.json.decode(row["object"]),
        previous=previous if isinstance(previous, dict) else None,
    )


def last(snapshots: Sequence[Snapshot]) -> tuple[Snapshot, bool]:
    """The last of all that is known of one object in one second.

    Two states are told apart where one event says that it changed the other, and none of
    the other's may have done the reverse. With three there may have been a way back:
    nothing is certain.

    Args:
        snapshots: One at least, in the order of intake.

    Returns:
        One of them, and whether that is certain: all came before it, or say the same.
    """
    later = [event for event in snapshots if not event.type.endswith(".created")] or [*snapshots]
    states: dict[str, list[Snapshot]] = {}
    for event in later:
        states.setdefault(json.dumps(event.object, sort_keys=True), []).append(event)
    if len(states) == 1:
        return later[-1], True
    if len(states) == 2:  # noqa: PLR2004 - of more nothing is certain
        one, other = states.values()
        if _follows(other, one):
            return other[-1], True
        if _follows(one, other):
            return one[-1], True
    return later[-1], False


def _follows(later: Sequence[Snapshot], earlier: Sequence[Snapshot]) -> bool:
    before, after = earlier[0].object, later[0].object
    changed = any(one.previous and _holds(before, one.previous) for one in later)
    reversible = any(
        one.previous is None or _holds(after, one.previous, strict=False) for one in earlier
    )
    return changed and not reversible


def _holds(value: Any, part: Any, *, strict: bool = True) -> bool:  # noqa: ANN401 - JSON
    """Whether a state has the values that a change says were there before.

    What was absent is told as null. Strictly, that has to be there as null; if not, it
    says nothing, and neither do lists, of which some changes tell only a part.
    """
    if isinstance(part, dict):
        return isinstance(value, dict) and all(
            (key in value or (part[key] is None and not strict))
            and _holds(value.get(key), part[key], strict=strict)
            for key in part
        )
    if not strict and (part is None or isinstance(part, list)):
        return True
    return bool(value == part)

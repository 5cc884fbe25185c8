"""Calling a model on many inputs so that one bad input harms no other."""

from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Generic, TypeVar

from msgspec import Struct

from inference.errors import DeviceFull, NoRoom

Item = TypeVar("Item")
Result = TypeVar("Result")


class Attempt(Struct, Generic[Item, Result], frozen=True):
    """One call: for each item its result, or the error that it met."""

    items: Sequence[Item]
    outcomes: Sequence[Result | Exception]
    seconds: float


def attempt(
    call: Callable[[Sequence[Item]], Sequence[Result | Exception]], items: Sequence[Item]
) -> list[Attempt[Item, Result]]:
    """Call on all items together; if that raises, once more on each alone.

    An item that raises alone has earned it. The others have their results and pay
    for the time of their own call, not for that of the one that broke. Where the
    device is full nobody is at fault, so halves are tried before single items; an
    item that has no room alone is refused.

    Returns:
        One attempt over all items, or several over some of them, in the items' order.
    """
    started = perf_counter()
    failed: Exception = NoRoom()
    try:
        outcomes = call(items)
        if len(outcomes) != len(items):
            raise ValueError(f"{len(items)} inputs and {len(outcomes)} results")  # noqa: TRY301 - the model is at fault, as below
        return [Attempt(items, outcomes, perf_counter() - started)]
    except DeviceFull:
        half = len(items) // 2
        parts = [items[:half], items[half:]]
    except Exception as error:  # noqa: BLE001 - the boundary to models of any kind
        parts = [[item] for item in items]
        if len(items) == 1:  # of several nobody is told, and it would keep what the call had
            failed = error
    # behind the handlers: an error that is handled keeps what the failed call had of the device
    if len(items) == 1:
        return [Attempt(items, [failed], perf_counter() - started)]
    return [tried for part in parts for tried in attempt(call, part)]

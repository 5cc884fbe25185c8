"""Calling a model on many inputs so that one bad input harms no other."""

from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Generic, TypeVar

from msgspec import Struct

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
    for the time of their own call, not for that of the one that broke.

    Returns:
        One attempt over all items, or one for each, in the items' order.
    """
    started = perf_counter()
    try:
        outcomes = call(items)
        if len(outcomes) != len(items):
            raise ValueError(f"{len(items)} inputs and {len(outcomes)} results")  # noqa: TRY301
    except Exception as error:  # noqa: BLE001 - the boundary to models of any kind
        if len(items) == 1:
            return [Attempt(items, [error], perf_counter() - started)]
        return [alone for item in items for alone in attempt(call, [item])]
    return [Attempt(items, outcomes, perf_counter() - started)]

"""Whose turn it is, where requests wait: in a worker, and in an edge while workers are full."""

from collections.abc import Sequence
from typing import Final

OVERTAKEN: Final = 3  # times in a row at most, before the longest wait goes first


class Turns:
    """Higher priority goes first; whoever has waited longest is overtaken three times at most.

    So of what is served while higher priority never ends, a quarter is not of it, and a
    request with N before it waits for 4 (N + 1) turns at most, whatever comes after it.
    """

    __slots__ = ("_overtaken",)

    def __init__(self) -> None:
        self._overtaken = 0

    def next(self, priorities: Sequence[int]) -> int:
        """Give one turn.

        Args:
            priorities: of those who wait, at least one, first come first.

        Returns:
            Whose it is, as a position in `priorities`: the first of its priority.
        """
        top = max(priorities)
        if priorities[0] == top or self._overtaken == OVERTAKEN:
            self._overtaken = 0
            return 0
        self._overtaken += 1
        return priorities.index(top)

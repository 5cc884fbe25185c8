"""What a worker has told edges of the room that it has."""

from typing import Final

HOLDS_S: Final = 0.05  # who is told of room comes within that, or has nobody to send


class Room:
    """Room that was told of and not yet taken; it is not told of again meanwhile.

    Else each answer would bring as many as there is room for, until the first of them is
    there, and most would come in vain. It is no promise: whoever comes first has the room.
    """

    def __init__(self) -> None:
        self._told = 0
        self._since = 0.0

    def tell(self, free: int, *, now: float) -> int:
        """How many may be told to come.

        Args:
            free: Requests that there is room for.
            now: Monotonic seconds.
        """
        if now - self._since > HOLDS_S:
            self._told, self._since = 0, now
        told = max(0, free - self._told)
        self._told += told
        return told

    def took_one(self) -> None:
        """Count one that has come, told or not."""
        self._told = max(0, self._told - 1)

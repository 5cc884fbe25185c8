"""The stand-in's time: the wall's, until a test stops it."""

import time


class Clock:
    """Whole seconds, as Stripe counts; it never goes back.

    Args:
        at: Where it stands until it is moved; None: it runs with the wall's.
    """

    def __init__(self, at: int | None = None) -> None:
        self._at = at
        self._ahead = 0

    def now(self) -> int:
        return (int(time.time()) if self._at is None else self._at) + self._ahead

    def move_to(self, time_: int) -> None:
        self._ahead += max(0, time_ - self.now())

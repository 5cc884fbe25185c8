"""How fast a model has been working lately."""

from typing import Final

_RECENT: Final = 0.2  # the weight of the newest batch: about the last ten count
_UNKNOWN_S: Final = 1.0  # before the first batch; loaded models have answered within it


class Pace:
    """The device's time per request, as a moving average over batches."""

    def __init__(self) -> None:
        self._seconds: float | None = None

    def ran(self, requests: int, seconds: float) -> None:
        """Count one batch."""
        each = seconds / requests
        if self._seconds is None:
            self._seconds = each
        else:
            self._seconds += _RECENT * (each - self._seconds)

    def room_in_ms(self, running: int, elapsed_s: float) -> float:
        """When the running batch will have made room, in milliseconds.

        Args:
            running: requests in the batch.
            elapsed_s: since it was started.
        """
        if self._seconds is None:
            return 1_000 * _UNKNOWN_S
        # a batch that takes longer than usual says nothing of when it ends; not "now"
        return 1_000 * max(self._seconds * running - elapsed_s, self._seconds)

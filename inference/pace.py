"""How fast a model has been working lately."""

from typing import Final

_RECENT: Final = 0.2  # the weight of the newest batch: about the last ten count
_UNKNOWN_S: Final = 1.0  # before the first batch; loaded models have answered within it


class Pace:
    """The device's time per request and per token, as moving averages over batches.

    Args:
        lanes: Batches that run side by side.
    """

    def __init__(self, lanes: int = 1) -> None:
        self._lanes = lanes
        self._request_s: float | None = None
        self._token_s: float | None = None

    def ran(self, requests: int, seconds: float, *, tokens: int = 0) -> None:
        """Count one batch, of so many padded tokens where that says how long it takes."""
        self._request_s = _moved(self._request_s, seconds / requests)
        if tokens:
            self._token_s = _moved(self._token_s, seconds / tokens)

    def each_ms(self) -> float:
        """The device's time for one request, in milliseconds; all lanes work on some."""
        return self._each_ms() / self._lanes

    def room_in_ms(self, running: int, elapsed_s: float) -> float:
        """When the running batch will have made room, in milliseconds.

        Args:
            running: requests in the batch.
            elapsed_s: since it was started.
        """
        # a batch that takes longer than usual says nothing of when it ends; not "now"
        return max(self._each_ms() * max(1, running) - 1_000 * elapsed_s, self.each_ms())

    def tokens_within(self, limit_ms: float, *, at_most: int) -> int:
        """How many padded tokens the device is done with in `limit_ms`: the next batch's budget.

        What a batch costs besides its tokens counts as theirs, so after small ones it says
        too little. As long as they are quicker than `limit_ms` it allows for larger ones.
        """
        if not self._token_s:
            return at_most
        return max(1, min(at_most, int(limit_ms / 1_000 / self._token_s)))

    def _each_ms(self) -> float:
        return 1_000 * (_UNKNOWN_S if self._request_s is None else self._request_s)


def _moved(average: float | None, value: float) -> float:
    return value if average is None else average + _RECENT * (value - average)

"""How fast a model has been working lately."""

from typing import Final

from events.models import Limits

_RECENT: Final = 0.2  # the weight of the newest batch: about the last ten count
_RISE: Final = 0.01  # the same for the quickest batch, where the newest was slower
_JUMP: Final = 4  # times the average, that one batch counts as at most
WORTH: Final = 4  # times what a batch costs by itself: of such a long one that is a quarter
_UNKNOWN_S: Final = 1.0  # before the first batch; loaded models have answered within it

_LEAST_S: Final = 1e-6  # a clock may not have moved


class Pace:
    """The device's time per request and per token, as moving averages over batches.

    Args:
        lanes: Batches that run side by side.
    """

    def __init__(self, lanes: int = 1) -> None:
        self._lanes = lanes
        self._request_s: float | None = None
        self._token_s: float | None = None
        self._least_s: float | None = None

    def ran(self, requests: int, seconds: float, *, tokens: int = 0) -> None:
        """Count one batch, of so many padded tokens where that says how long it takes."""
        request_s = seconds / requests
        if self._request_s:  # one long text says little of those to come
            request_s = min(request_s, _JUMP * self._request_s)
        self._request_s = _moved(self._request_s, request_s)
        if self._least_s is None or seconds < self._least_s:
            self._least_s = seconds
        self._least_s += _RISE * (seconds - self._least_s)
        if tokens:
            self._token_s = _moved(self._token_s, seconds / tokens)

    @property
    def is_known(self) -> bool:
        """Whether anything has run yet."""
        return self._request_s is not None

    def each_ms(self) -> float:
        """The device's time for one request, in milliseconds; all lanes work on some."""
        return self._each_ms() / self._lanes

    def tokens_ms(self, tokens: int) -> float:
        """The device's time for so many padded tokens, in milliseconds; 0 where nothing has run."""
        return 1_000 * tokens * (self._token_s or 0.0) / self._lanes

    def room_in_ms(self, running: int, elapsed_s: float) -> float:
        """When the running batch will have made room, in milliseconds.

        Args:
            running: requests in the batch.
            elapsed_s: since it was started.
        """
        # a batch that takes longer than usual says nothing of when it ends; not "now"
        return max(self._each_ms() * max(1, running) - 1_000 * elapsed_s, self.each_ms())

    def batch_tokens(self, limits: Limits) -> int:
        """How many padded tokens the device is done with in `batch_ms`: the next batch's budget.

        What a batch costs besides its tokens counts as theirs, so after small ones it says
        too little. As long as they are quicker than `batch_ms` it allows for larger ones.
        """
        if not self._token_s:
            return limits.batch_tokens
        return max(1, min(limits.batch_tokens, int(limits.batch_ms / 1_000 / self._token_s)))

    def enough_ms(self, limits: Limits) -> float:
        """How long what waits in a worker may be expected to take, in milliseconds.

        `queue_ms`; but where a batch costs much besides its tokens, which nobody knows and
        which is no more than the quickest batch lately took, as long as makes that little of
        the next one. Such devices would else stay with small batches for ever.
        """
        next_ms = 1_000 * self.batch_tokens(limits) * (self._token_s or 0.0)
        return max(limits.queue_ms, min(next_ms, WORTH * 1_000 * (self._least_s or 0.0)))

    def _each_ms(self) -> float:
        request_s = _UNKNOWN_S if self._request_s is None else self._request_s
        return 1_000 * max(request_s, _LEAST_S)


def _moved(average: float | None, value: float) -> float:
    return value if average is None else average + _RECENT * (value - average)

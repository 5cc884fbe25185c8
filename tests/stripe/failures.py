"""Bad days of Stripe's API, on demand."""

from msgspec import Struct


class Failure(Struct, kw_only=True):
    """What becomes of requests, instead of an answer or before one."""

    times: int = 1  # requests that it still is for; -1: all
    path: str = ""  # those whose path begins so
    method: str = ""  # or all methods
    skip: int = 0  # requests that pass first
    status: int = 0  # 429, 500, 401 ...; 0: the answer's own
    retry_after: str = ""
    body: str | None = None  # garbage, in place of Stripe's JSON
    delay_s: float = 0  # before the answer; longer than patience: a hang
    cut: bool = False  # close the connection without an answer
    after: bool = False  # do what was asked first, and lose only the answer


class Failures:
    """Those that are yet to come, in their order."""

    def __init__(self) -> None:
        self.waiting: list[Failure] = []

    def add(self, failure: Failure) -> None:
        self.waiting.append(failure)

    def clear(self) -> None:
        self.waiting.clear()

    def take(self, method: str, path: str) -> Failure | None:
        """The one that this request meets."""
        for failure in self.waiting:
            if not path.startswith(failure.path) or failure.method not in ("", method):
                continue
            if failure.skip:
                failure.skip -= 1
                continue
            failure.times -= 1
            if failure.times == 0:
                self.waiting.remove(failure)
            return failure
        return None

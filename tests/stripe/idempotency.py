"""Idempotency keys: the first answer, again, for a day."""

from msgspec import Struct

from tests.stripe.errors import Refused
from tests.stripe.form import Params

KEPT_S = 86_400


class Answer(Struct):
    status: int
    body: bytes


class _Kept(Struct):
    asked: tuple[str, str, Params]
    answer: Answer
    at: int


class Idempotency:
    """What was answered under which key."""

    def __init__(self) -> None:
        self._kept: dict[str, _Kept] = {}

    def find(self, key: str, asked: tuple[str, str, Params], now: int) -> Answer | None:
        """The answer to this request, if it was made before.

        Raises:
            Refused: another request was made under this key.
        """
        kept = self._kept.get(key)
        if kept is None or kept.at < now - KEPT_S:
            return None
        if kept.asked != asked:
            raise Refused(
                "Keys for idempotent requests can only be used with the same parameters they were "
                f"first used with. Try using a key other than '{key}' if you meant to execute a "
                "different request.",
                kind="idempotency_error",
            )
        return kept.answer

    def keep(self, key: str, asked: tuple[str, str, Params], now: int, answer: Answer) -> None:
        self._kept[key] = _Kept(asked, answer, now)

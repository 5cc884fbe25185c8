"""What a task is."""

from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

MAX_CHARACTERS: Final = 100_000  # a text; longer ones belong in several requests

Text = Annotated[
    str, Meta(min_length=1, max_length=MAX_CHARACTERS, pattern=r"\S", description="Not blank.")
]


class TaskInput(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every task's input: unknown fields are refused by name."""


class TaskResult(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every task's result, as strict with a worker as with a caller."""


class Task:
    """A name, what goes in and what comes out."""

    def __init__(
        self, name: str, *, takes: type[TaskInput], gives: type[TaskResult], example: TaskInput
    ) -> None:
        self.name = name
        self.takes = takes
        self.gives = gives
        self.example = example
        self._input = msgspec.json.Decoder(takes)
        self._result = msgspec.json.Decoder(gives)
        self._encoder = msgspec.json.Encoder()

    def decode_input(self, body: bytes) -> Any:  # noqa: ANN401 - an instance of `takes`
        """Read a caller's JSON.

        Raises:
            msgspec.ValidationError: JSON, but not this task's input.
            msgspec.DecodeError: not JSON.
            UnicodeDecodeError: not UTF-8.
            RecursionError: nested too deeply.
        """
        return self._input.decode(body)

    def decode_result(self, body: bytes) -> Any:  # noqa: ANN401 - an instance of `gives`
        """Read a worker's JSON; raises as `decode_input`."""
        return self._result.decode(body)

    def encode(self, value: TaskInput | TaskResult) -> bytes:
        """The input or result as JSON."""
        return self._encoder.encode(value)

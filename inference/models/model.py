"""What a model is to the rest of the worker."""

from collections.abc import Sequence
from typing import Any, Protocol

from msgspec import Struct

from events.tasks.task import TaskResult
from events.usage import Quantities
from inference.errors import InputRefused


class Prepared(Struct, frozen=True):
    """One input, tokenized: its size, and whatever the model needs to run it."""

    width: int  # tokens of its longest row, 1 or more
    data: Any
    rows: int = 1  # rows of the batch that it takes: a request may bring several texts

    @property
    def tokens(self) -> int:
        """What it takes of a batch when nobody else is in it."""
        return self.rows * self.width


class Answer(Struct, frozen=True):
    """One result, and what it may be billed by; `device_ms` is added later."""

    result: TaskResult
    quantities: Quantities


class Model(Protocol):
    """Something that does one or more tasks.

    Each method is called from a thread of its own, so that one batch is tokenized
    while another runs: the two must share nothing that either changes. Both give
    one result for each input, in order, or an `InputRefused` in its place. What
    they raise is taken for the fault of one input: each is then tried alone.
    """

    @property
    def tasks(self) -> frozenset[str]:
        """The names of the tasks that it can do."""

    def tokenize(self, task: str, inputs: Sequence[Any]) -> Sequence[Prepared | InputRefused]:
        """Prepare inputs of one task's type."""

    def run(self, task: str, prepared: Sequence[Prepared]) -> Sequence[Answer | InputRefused]:
        """Answer a batch of one task."""

"""How a request is spoken: what its body means, and how its answer is written.

There is one road for all that is asked of models (edge/route.py). A dialect is a form
in which callers ask, and are answered, on it.
"""

from collections.abc import Callable
from typing import Any, Literal, Protocol
from uuid import UUID

from msgspec import Struct

from edge.called import Called
from edge.errors import EdgeError
from events.tasks import Task
from events.tasks.task import StreamedInput
from events.usage import Quantities

Reason = Literal["stop", "length", "cancelled"]  # why a stream ends


class Writer(Protocol):
    """Writes the whole answer to one request."""

    def whole(self, result: bytes, value: Any, used: Quantities) -> bytes:  # noqa: ANN401 - any task's
        """The answer.

        Args:
            result: As the worker sent it.
            value: The same, as the task's result type.
            used: What it is billed by.
        """


class StreamWriter(Protocol):
    """Writes the answer to one request as server-sent events."""

    def begin(self) -> bytes:
        """What a stream begins with; it may be nothing."""

    def piece(self, piece: bytes, value: Any) -> bytes:  # noqa: ANN401 - any task's
        """A piece of a stream, as the worker sent it and as the task's type."""

    def end(self, reason: Reason, used: Quantities) -> bytes:
        """The last of a stream that is whole: why it ends, and what was used in all."""

    def cut(self, error: EdgeError, used: Quantities) -> bytes:
        """The last of a stream that a limit or a fault has ended, and what was used in all."""


class Asked(Struct, frozen=True, kw_only=True):
    """What a body asks for."""

    target: Called
    task: Task
    value: Any  # an instance of what the task takes
    input: bytes  # the same as JSON, for the worker
    writer: Callable[[UUID], Writer]  # of the answer; takes the id that it is metered under
    stream_writer: Callable[[UUID], StreamWriter] | None = None  # where there are streams

    @property
    def stream(self) -> bool:
        """Whether the answer is to come piece by piece."""
        return isinstance(self.value, StreamedInput) and bool(self.value.stream)


class Dialect(Protocol):
    """A form of asking for a task."""

    @property
    def label(self) -> str:
        """What the metrics call its requests."""

    @property
    def target(self) -> Called:
        """What the path alone says; no model where the body names it."""

    def read(self, body: bytes) -> Asked:
        """Read what is asked.

        Raises:
            EdgeError: the body is not what it should be.
        """

    def refusal(self, error: EdgeError) -> EdgeError:
        """What this dialect's callers are told of an error."""

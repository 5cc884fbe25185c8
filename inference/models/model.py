"""What a model is to the rest of the worker."""

from collections.abc import Sequence
from typing import Any, Literal, Protocol, runtime_checkable

from msgspec import Struct

from events.tasks.task import TaskResult
from events.usage import Quantities
from inference.errors import InputRefused


class Prepared(Struct, frozen=True):
    """One input, tokenized: its size, and whatever the model needs to run it."""

    width: int  # tokens of its longest row, 1 or more
    data: Any
    #: Rows of the batch, or slots of a generator, that it takes: a request may bring several
    #: texts, or want several.
    rows: int = 1

    @property
    def tokens(self) -> int:
        """What it takes of a batch when nobody else is in it."""
        return self.rows * self.width


class Answer(Struct, frozen=True):
    """One result, and what it may be billed by; `device_ms` is added later."""

    result: TaskResult
    quantities: Quantities


class Piece(Struct, frozen=True):
    """Something that can be said before the whole is finished."""

    said: TaskResult
    quantities: Quantities  # of the request so far, with this and nothing that comes after it


class Advance(Struct, frozen=True):
    """What one step did for one request."""

    pieces: Sequence[Piece]  # what can be said by now and was not
    quantities: Quantities  # of the request so far; `device_ms` is added later
    tokens: int  # that the step read and wrote for it: its share of the step's time
    rows: int = 1  # texts of it that go on: so many of the slots it takes from now on
    result: TaskResult | None = None  # the whole, once it is finished
    reason: Literal["stop", "length"] = "stop"  # why it is finished


class Tokenizes(Protocol):
    """What all models have in common.

    Each method is called from a thread of its own, so that some requests are tokenized
    while others run: the two must share nothing that either changes. All give one
    result for each input, in order, or an `InputRefused` in its place. What they
    raise is taken for the fault of one input: each is then tried alone.
    """

    @property
    def tasks(self) -> frozenset[str]:
        """The names of the tasks that it can do."""

    def tokenize(self, task: str, inputs: Sequence[Any]) -> Sequence[Prepared | InputRefused]:
        """Prepare inputs of one task's type."""


class Model(Tokenizes, Protocol):
    """Something that answers requests in batches, each in one go."""

    def run(self, task: str, prepared: Sequence[Prepared]) -> Sequence[Answer | InputRefused]:
        """Answer a batch of one task."""


@runtime_checkable
class Parallel(Model, Protocol):
    """A model that may run several batches side by side, each in a thread of its own."""

    @property
    def lanes(self) -> int:
        """How many are worth it, 1 or more."""

    def enter(self) -> None:
        """Make ready the calling thread, which will run batches from now on."""


@runtime_checkable
class Divisible(Model, Protocol):
    """A model that can read some rows of an input now and others later.

    `run` does the same in one go: its answers are those of `answer` for all that `read` found.
    """

    def cut(self, prepared: Prepared, tokens: int) -> tuple[Prepared, Prepared]:
        """Cut off as many rows as `tokens` padded tokens are enough for, and at least one.

        Args:
            prepared: An input, or what was left of one; more than one row.
            tokens: Fewer than it has.

        Returns:
            These rows, and those that are left.
        """

    def read(self, task: str, parts: Sequence[Prepared]) -> Sequence[Any]:
        """What `answer` needs to know of parts of inputs, or of whole ones; one for each."""

    def answer(self, task: str, prepared: Prepared, found: Sequence[Any]) -> Answer:
        """Make the answer.

        Args:
            task: Of the input.
            prepared: The whole input.
            found: What was read of its parts, in the order in which they were cut off.
        """


@runtime_checkable
class Generator(Tokenizes, Protocol):
    """Something that writes its answers token by token, several side by side.

    Requests join and leave between steps. What a request has of the model while it
    runs is its draft, which belongs to the model. A draft that is left out of a step
    keeps all that it has; one that has left is just not seen again, and whatever it
    holds must go when nobody refers to it any more.
    """

    def join(self, prepared: Prepared) -> Any:  # noqa: ANN401 - the model's own affair
        """Begin a draft; cheap, for nothing is computed before the next step."""

    def step(self, drafts: Sequence[Any]) -> Sequence[Advance | Exception]:
        """Advance each text by one token, or read some of a draft's input.

        The drafts' rows add up to `Limits.slots` at most.

        No draft's text may depend on which others there are. What goes wrong with one
        draft is given in its place. Raising means that no draft was advanced.
        """

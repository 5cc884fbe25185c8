"""What a task is."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from events.usage import Quantities

MAX_CHARACTERS: Final = 100_000  # a text; longer ones belong in several requests
TOKEN_CHARACTERS: Final = 64  # in one token, at most: a worker sees to it that this holds

Text = Annotated[
    str, Meta(min_length=1, max_length=MAX_CHARACTERS, pattern=r"\S", description="Not blank.")
]

#: A text in a union with a list. Not a `Text`: of a union of a text that has a pattern with a
#: list msgspec 0.22 frees what it still uses, and the process dies in a garbage collection.
UnionText = Annotated[str, Meta(min_length=1, max_length=MAX_CHARACTERS, description="Not blank.")]

#: A text as ids of the model's own vocabulary.
Tokens = Annotated[list[Annotated[int, Meta(ge=0)]], Meta(min_length=1, max_length=MAX_CHARACTERS)]


def read_texts(texts: Sequence[str], *, input_tokens: int | None = None) -> Quantities:
    """What reading texts is billed by.

    Args:
        texts: As the caller sent them.
        input_tokens: Those that the model saw: after truncation, without padding, with
            the special tokens that frame a text. None where no model has seen it yet:
            then the most there can be, which is one a byte and a frame around each text.
    """
    if input_tokens is None:
        input_tokens = sum(len(text.encode(errors="surrogatepass")) + 2 for text in texts)
    return Quantities(
        input_tokens=input_tokens,
        input_words=sum(len(text.split()) for text in texts),
        input_characters=sum(map(len, texts)),
    )


def require_words(texts: Sequence[str | Sequence[int]], field: str) -> None:
    """Check that no text is blank, where no pattern can.

    Raises:
        ValueError: one is; it begins with the field, as those of `TaskInput` do.
    """
    for number, text in enumerate(texts):
        if isinstance(text, str) and not text.strip():
            message = f"`{field}[{number}]` is blank; send some text"
            raise ValueError(message)


def most_read(texts: Sequence[str | Sequence[int]]) -> Quantities:
    """The most that reading texts, or tokens, can be billed by, before a model has seen them."""
    tokens = [one for one in texts if not isinstance(one, str)]
    read = read_texts([one for one in texts if isinstance(one, str)])
    if not tokens:
        return read
    many = sum(map(len, tokens))
    return replace(
        read,
        input_tokens=read.input_tokens + many + 2 * len(tokens),
        input_words=read.input_words + many,
        input_characters=read.input_characters + TOKEN_CHARACTERS * many,
    )


def read_spelled(
    texts: Sequence[str | Sequence[int]], spelled: Sequence[str], *, input_tokens: int
) -> Quantities:
    """What reading texts, or tokens, is billed by: never more than `most_read` of them.

    Args:
        texts: As the caller sent them.
        spelled: The same, all as text: a vocabulary may have tokens that are longer than
            `TOKEN_CHARACTERS`, or of two words.
        input_tokens: As `read_texts`.
    """
    read, most = read_texts(spelled, input_tokens=input_tokens), most_read(texts)
    return replace(
        read,
        input_words=min(read.input_words, most.input_words),
        input_characters=min(read.input_characters, most.input_characters),
    )


class TaskInput(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every task's input: unknown fields are refused by name.

    What no annotation can say is checked in `__post_init__`, which raises a `ValueError`
    that begins with the field in backticks.
    """


class StreamedInput(TaskInput, frozen=True):
    """Base of the inputs of tasks that can answer piece by piece."""

    stream: Annotated[
        bool | None,
        Meta(description="Answer with server-sent events, each a piece of the result; false."),
    ] = None


class TaskResult(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every task's result, as strict with a worker as with a caller."""


class Task:
    """A name, what goes in and what comes out.

    Args:
        name: As callers write it.
        takes: What they send.
        gives: What they get.
        example: Something to send, for the documentation.
        most: The most that an input can be billed by, whatever model it goes to.
        piece: What a stream is made of; None where the task cannot be streamed. Then
            `takes` is no `StreamedInput`.
    """

    def __init__(
        self,
        name: str,
        *,
        takes: type[TaskInput],
        gives: type[TaskResult],
        example: TaskInput,
        most: Callable[[Any], Quantities],
        piece: type[TaskResult] | None = None,
    ) -> None:
        self.name = name
        self.most = most
        self.takes = takes
        self.gives = gives
        self.example = example
        self.piece = piece
        self._input = msgspec.json.Decoder(takes)
        self._result = msgspec.json.Decoder(gives)
        self._piece = msgspec.json.Decoder(piece or gives)
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

    def decode_piece(self, body: bytes) -> Any:  # noqa: ANN401 - an instance of `piece`
        """Read a worker's JSON of a piece; raises as `decode_input`."""
        return self._piece.decode(body)

    def encode(self, value: TaskInput | TaskResult) -> bytes:
        """The input or result as JSON."""
        return self._encoder.encode(value)

"""The tokens of a text, with their lemmas."""

from typing import Annotated, Final

from msgspec import Meta, Struct

from events.tasks.task import Task, TaskInput, TaskResult, Text, read_texts


class TokensInput(TaskInput, frozen=True):
    """A text to take apart."""

    text: Text


class Token(Struct, frozen=True, forbid_unknown_fields=True):
    """One token: characters ``[start, end)`` of the text."""

    start: Annotated[int, Meta(ge=0)]
    end: Annotated[int, Meta(ge=0)]
    index: Annotated[int, Meta(ge=1, description="1 for the first token of the text.")]
    text: str
    lemma: Annotated[str, Meta(description="The form that a dictionary has.")]
    ws_after: Annotated[bool, Meta(description="Whether a space follows.")]


class TokensResult(TaskResult, frozen=True):
    """The tokens, in the order of the text; with the spaces they are the whole text."""

    tokens: list[Token]


TASK: Final = Task(
    "tokens",
    takes=TokensInput,
    gives=TokensResult,
    example=TokensInput(text="The gates were closing."),
    most=lambda value: read_texts([value.text]),
)

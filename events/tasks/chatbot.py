"""The next answer of a conversation."""

from typing import Annotated, Final

from msgspec import Meta, Struct

from events.tasks.generation import GenerationPiece
from events.tasks.task import MAX_CHARACTERS, StreamedInput, Task, TaskResult, Text
from events.tasks.writing import most_written
from events.usage import Quantities

MAX_TOKENS: Final = 256  # of one answer
MAX_HISTORY: Final = 1_000  # exchanges; a model's context ends long before

Said = Annotated[str, Meta(max_length=MAX_CHARACTERS)]


class Exchange(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was said, and what was answered."""

    input: Said
    response: Said


class ChatbotInput(StreamedInput, frozen=True, kw_only=True):
    """Something to answer."""

    input: Text
    context: Annotated[
        Text | None, Meta(description="Who is talking, and how; a helpful assistant if null.")
    ] = None
    history: Annotated[
        Annotated[list[Exchange], Meta(max_length=MAX_HISTORY)] | None,
        Meta(description="What was said before, the oldest first: the last answer's `history`."),
    ] = None


class ChatbotResult(TaskResult, frozen=True):
    """The answer, and the conversation with it."""

    response: str
    history: list[Exchange]


def most(value: ChatbotInput) -> Quantities:
    """The most that it can use, before a tokenizer has seen it."""
    return most_written(texts(value), new_tokens=MAX_TOKENS, instructed=True)


def texts(value: ChatbotInput) -> list[str]:
    """All that the caller brings, in the order in which the model reads it."""
    past = [text for one in value.history or () for text in (one.input, one.response)]
    return [value.context or "", *past, value.input]


TASK: Final = Task(
    "chatbot",
    takes=ChatbotInput,
    gives=ChatbotResult,
    example=ChatbotInput(
        input="What is my name?",
        context="A friendly talk between a traveller and an innkeeper.",
        history=[Exchange(input="My name is Ada.", response="Welcome, Ada!")],
    ),
    most=most,
    piece=GenerationPiece,
)

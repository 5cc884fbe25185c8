"""The text, given back: the whole road with no model at its end."""

from typing import Final

from events.tasks.task import Task, TaskInput, TaskResult, Text
from events.usage import Quantities


class EchoInput(TaskInput, frozen=True):
    """A text to give back."""

    text: Text


class EchoResult(TaskResult, frozen=True):
    """The same text."""

    text: str


def count(value: EchoInput) -> Quantities:
    """What an echo is billed by: words count as tokens, and all that goes in comes out."""
    words, characters = len(value.text.split()), len(value.text)
    return Quantities(
        input_tokens=words,
        output_tokens=words,
        input_words=words,
        output_words=words,
        input_characters=characters,
        output_characters=characters,
    )


TASK: Final = Task(
    "echo",
    takes=EchoInput,
    gives=EchoResult,
    example=EchoInput(text="Is anybody there?"),
    most=count,
)

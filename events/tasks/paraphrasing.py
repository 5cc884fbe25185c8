"""The same in other words."""

from typing import Final

from events.tasks.task import Task, TaskInput, TaskResult, Text
from events.tasks.writing import most_written
from events.usage import Quantities

MAX_TOKENS: Final = 512  # of what comes out


class ParaphrasingInput(TaskInput, frozen=True):
    """A text to say otherwise; a paragraph at most works best."""

    text: Text


class ParaphrasingResult(TaskResult, frozen=True):
    """The same in other words."""

    paraphrased_text: str


def most(value: ParaphrasingInput) -> Quantities:
    """The most that it can use, before a tokenizer has seen it."""
    return most_written([value.text], new_tokens=MAX_TOKENS, instructed=True)


TASK: Final = Task(
    "paraphrasing",
    takes=ParaphrasingInput,
    gives=ParaphrasingResult,
    example=ParaphrasingInput(text="The meeting was put off because the chairman was ill."),
    most=most,
)

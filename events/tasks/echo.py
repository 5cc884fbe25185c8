"""The text, given back: the whole road with no model at its end."""

from typing import Final

from events.tasks.task import Task, TaskInput, TaskResult, Text


class EchoInput(TaskInput, frozen=True):
    """A text to give back."""

    text: Text


class EchoResult(TaskResult, frozen=True):
    """The same text."""

    text: str


TASK: Final = Task(
    "echo", takes=EchoInput, gives=EchoResult, example=EchoInput(text="Is anybody there?")
)

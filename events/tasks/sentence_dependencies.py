"""The sentences of a text, and how the words of each depend on each other."""

from typing import Annotated, Final

from msgspec import Meta, Struct

from events.tasks.dependencies import DependenciesInput, DependenciesResult
from events.tasks.task import Task, TaskResult, read_texts


class SentenceDependencies(Struct, frozen=True, forbid_unknown_fields=True):
    """One sentence."""

    sentence: str
    dependencies: Annotated[
        DependenciesResult, Meta(description="Positions count from the sentence's first word.")
    ]


class SentenceDependenciesResult(TaskResult, frozen=True):
    """The sentences, in the order of the text."""

    sentence_dependencies: list[SentenceDependencies]


TASK: Final = Task(
    "sentence-dependencies",
    takes=DependenciesInput,
    gives=SentenceDependenciesResult,
    example=DependenciesInput(text="The keeper opened the gate. Nobody came."),
    most=lambda value: read_texts([value.text]),
)

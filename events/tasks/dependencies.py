"""How the words of a text depend on each other."""

from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from events.tasks.task import Task, TaskInput, TaskResult, Text, read_texts


class DependenciesInput(TaskInput, frozen=True):
    """A text to parse."""

    text: Text


class Word(Struct, frozen=True, forbid_unknown_fields=True):
    """One word, or one mark."""

    text: str
    tag: Annotated[str, Meta(description="Its part of speech, in the model's tag set: `NNP`.")]


class Arc(Struct, frozen=True, forbid_unknown_fields=True):
    """One word depends on another; `start` and `end` are positions in `words`, from 0."""

    start: Annotated[int, Meta(ge=0, description="The one of the two that comes first.")]
    end: Annotated[int, Meta(ge=0, description="The one of the two that comes last.")]
    label: Annotated[str, Meta(description="What the word is to its head: `nsubj`.")]
    text: Annotated[str, Meta(description="The word that depends.")]
    dir: Annotated[
        Literal["left", "right"],
        Meta(description="Where the word stands: `left` is at `start`, and its head at `end`."),
    ]


class DependenciesResult(TaskResult, frozen=True):
    """The words in order, and an arc for each that is not the root of its sentence."""

    words: list[Word]
    arcs: list[Arc]


TASK: Final = Task(
    "dependencies",
    takes=DependenciesInput,
    gives=DependenciesResult,
    example=DependenciesInput(text="The keeper opened the gate."),
    most=lambda value: read_texts([value.text]),
)

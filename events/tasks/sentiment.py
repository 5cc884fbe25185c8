"""How the writer of a text feels."""

from typing import Annotated, Final

from msgspec import Meta, Struct

from events.tasks.task import Task, TaskInput, TaskResult, Text, read_texts


class SentimentInput(TaskInput, frozen=True):
    """A text with a mood."""

    text: Text
    target: Annotated[
        Annotated[str, Meta(min_length=1, max_length=256, pattern=r"\S")] | None,
        Meta(description="What the mood is about; not every model can tell. The whole text."),
    ] = None


class ScoredLabel(Struct, frozen=True, forbid_unknown_fields=True):
    """A mood, and how likely it is."""

    label: str
    score: Annotated[float, Meta(ge=0, le=1)]


class SentimentResult(TaskResult, frozen=True):
    """The model's labels, the likeliest first; the scores add up to 1."""

    scored_labels: list[ScoredLabel]


TASK: Final = Task(
    "sentiment",
    takes=SentimentInput,
    gives=SentimentResult,
    example=SentimentInput(text="The gate opened at once, what a joy!"),
    most=lambda value: read_texts([value.text]),
)

"""Which of the caller's labels fit a text."""

from typing import Annotated, Final

from msgspec import Meta

from events.tasks.task import Task, TaskInput, TaskResult, Text, read_texts
from events.usage import Quantities

MAX_LABELS: Final = 100

Label = Annotated[
    str, Meta(min_length=1, max_length=256, pattern=r"\S", description="A word, or a few.")
]


class ClassificationInput(TaskInput, frozen=True):
    """A text and the labels that it may have; null stands for a parameter's default."""

    text: Text
    labels: Annotated[list[Label], Meta(min_length=1, max_length=MAX_LABELS)]
    multi_class: Annotated[
        bool | None,
        Meta(description="Whether several labels may fit: then each has a score of its own; true."),
    ] = None

    def __post_init__(self) -> None:
        """Refuse labels that repeat.

        Raises:
            ValueError: one does, whatever its case and the space around it.
        """
        seen = set()
        for label in self.labels:
            same = label.strip().casefold()
            if same in seen:
                raise ValueError(f"`labels` has {label[:64]!r} twice; send each label once")
            seen.add(same)


class ClassificationResult(TaskResult, frozen=True):
    """The labels, the best first, and the score of each: from 0 to 1.

    The scores add up to 1 unless `multi_class`.
    """

    labels: list[str]
    scores: list[float]


def most(value: ClassificationInput) -> Quantities:
    """The text and the labels are read, each once."""
    return read_texts([value.text, *value.labels])


TASK: Final = Task(
    "classification",
    takes=ClassificationInput,
    gives=ClassificationResult,
    example=ClassificationInput(
        text="The striker scored twice in the second half.",
        labels=["sports", "politics", "weather"],
        multi_class=False,
    ),
    most=most,
)

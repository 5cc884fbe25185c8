"""Texts as vectors."""

from typing import Annotated, Final

from msgspec import Meta

from events.tasks.task import (
    Task,
    TaskInput,
    TaskResult,
    Tokens,
    UnionText,
    most_read,
    require_words,
)

MAX_SENTENCES: Final = 256
Dimensions = Annotated[
    int, Meta(ge=1, le=65_536, description="Of each vector, where the model has a choice.")
]


class EmbeddingsInput(TaskInput, frozen=True):
    """Up to 256 sentences; each becomes one vector."""

    sentences: Annotated[
        list[UnionText | Tokens],
        Meta(
            min_length=1,
            max_length=MAX_SENTENCES,
            description="Texts, or ids of the model's own tokens.",
        ),
    ]
    dimensions: Dimensions | None = None

    def __post_init__(self) -> None:
        """Check what its annotations cannot say."""
        require_words(self.sentences, "sentences")


class EmbeddingsResult(TaskResult, frozen=True):
    """One vector a sentence, in the order given, each of length one."""

    embeddings: list[list[float]]


TASK: Final = Task(
    "embeddings",
    takes=EmbeddingsInput,
    gives=EmbeddingsResult,
    example=EmbeddingsInput(sentences=["A gate, a meter and a till.", "It is raining."]),
    most=lambda value: most_read(value.sentences),
)

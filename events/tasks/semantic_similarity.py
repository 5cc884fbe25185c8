"""How close two texts are in meaning."""

from typing import Annotated, Final

from msgspec import Meta

from events.tasks.task import Task, TaskInput, TaskResult, Text, read_texts


class SemanticSimilarityInput(TaskInput, frozen=True):
    """Two texts to compare."""

    sentences: Annotated[list[Text], Meta(min_length=2, max_length=2)]


class SemanticSimilarityResult(TaskResult, frozen=True):
    """The cosine of the angle between the two."""

    score: Annotated[
        float, Meta(ge=-1, le=1, description="1 for the same meaning, about 0 for unrelated.")
    ]


TASK: Final = Task(
    "semantic-similarity",
    takes=SemanticSimilarityInput,
    gives=SemanticSimilarityResult,
    example=SemanticSimilarityInput(sentences=["The gate is shut.", "The door is closed."]),
    most=lambda value: read_texts(value.sentences),
)

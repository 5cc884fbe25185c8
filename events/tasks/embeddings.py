"""Texts as vectors."""

from typing import Annotated, Final

from msgspec import Meta

from events.tasks.task import Task, TaskInput, TaskResult, Text, read_texts


class EmbeddingsInput(TaskInput, frozen=True):
    """Up to 256 sentences; each becomes one vector."""

    sentences: Annotated[list[Text], Meta(min_length=1, max_length=256)]


class EmbeddingsResult(TaskResult, frozen=True):
    """One vector a sentence, in the order given, each of length one."""

    embeddings: list[list[float]]


TASK: Final = Task(
    "embeddings",
    takes=EmbeddingsInput,
    gives=EmbeddingsResult,
    example=EmbeddingsInput(sentences=["A gate, a meter and a till.", "It is raining."]),
    most=lambda value: read_texts(value.sentences),
)

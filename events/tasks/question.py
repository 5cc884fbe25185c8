"""An answer that a text holds."""

from typing import Annotated, Final

from msgspec import Meta

from events.tasks.task import Task, TaskInput, TaskResult, Text
from events.tasks.writing import most_written
from events.usage import Quantities

MAX_TOKENS: Final = 48  # of an answer


class QuestionInput(TaskInput, frozen=True, kw_only=True):
    """A question, and the text to look for its answer in."""

    question: Text
    context: Text


class QuestionResult(TaskResult, frozen=True, kw_only=True):
    """The words that answer it: characters ``[start, end)`` of the context."""

    answer: str
    score: Annotated[
        float, Meta(ge=0, le=1, description="How likely the model finds just these words.")
    ]
    start: Annotated[int, Meta(ge=0)]
    end: Annotated[int, Meta(ge=0)]


def most(value: QuestionInput) -> Quantities:
    """The most that it can use, before a tokenizer has seen it."""
    return most_written([value.context, value.question], new_tokens=MAX_TOKENS, instructed=True)


TASK: Final = Task(
    "question",
    takes=QuestionInput,
    gives=QuestionResult,
    example=QuestionInput(
        question="Who built the tower?",
        context="The tower was built in 1889 by the engineer Gustave Eiffel.",
    ),
    most=most,
)

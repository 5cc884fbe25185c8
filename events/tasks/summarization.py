"""A long text, shorter."""

from typing import Annotated, Final, Literal

from msgspec import Meta

from events.tasks.task import Task, TaskInput, TaskResult, Text
from events.tasks.writing import most_written
from events.usage import Quantities

TOKENS: Final = {"small": 96, "large": 320}  # of a summary, at most


class SummarizationInput(TaskInput, frozen=True, kw_only=True):
    """A text to summarize."""

    text: Text
    size: Annotated[
        Literal["small", "large"] | None,
        Meta(description="A sentence or two, or a paragraph; small."),
    ] = None

    @property
    def new_tokens(self) -> int:
        """The most that the summary may have."""
        return TOKENS[self.size or "small"]


class SummarizationResult(TaskResult, frozen=True):
    """The summary: whole sentences."""

    summary_text: str


def most(value: SummarizationInput) -> Quantities:
    """The most that it can use, before a tokenizer has seen it."""
    return most_written([value.text], new_tokens=value.new_tokens, instructed=True)


TASK: Final = Task(
    "summarization",
    takes=SummarizationInput,
    gives=SummarizationResult,
    example=SummarizationInput(
        text="The old bridge was closed on Monday after engineers had found cracks in two of its "
        "pillars. Until it is repaired, which will take at least three months, all traffic has to "
        "cross the river ten kilometres further north."
    ),
    most=most,
)

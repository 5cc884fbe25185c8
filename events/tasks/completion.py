"""Texts that go on from texts, or from tokens."""

from typing import Annotated, Final

from msgspec import Meta

from events.tasks.generation import GenerationPiece
from events.tasks.task import Task, TaskResult, Tokens, UnionText, require_words
from events.tasks.writing import WritingInput, Written, most_written
from events.usage import Quantities

DEFAULT_TOKENS: Final = 16  # of one text, as OpenAI has it
MAX_PROMPTS: Final = 64  # a model may allow fewer


class CompletionInput(WritingInput, frozen=True, kw_only=True):
    """What is to be gone on from; each has `n` texts."""

    prompts: Annotated[
        list[UnionText | Tokens],
        Meta(
            min_length=1,
            max_length=MAX_PROMPTS,
            description="Texts, or ids of the model's own tokens.",
        ),
    ]

    def __post_init__(self) -> None:
        """Check what its annotations cannot say."""
        require_words(self.prompts, "prompts")

    @property
    def new_tokens(self) -> int:
        """The most that may be generated of one text."""
        return self.max_tokens or DEFAULT_TOKENS


class CompletionResult(TaskResult, frozen=True):
    """The first prompt's texts, then the next one's."""

    texts: list[Written]


def most(value: CompletionInput) -> Quantities:
    """The most that it can use, before a tokenizer has seen it."""
    many = value.sequences * len(value.prompts)
    return most_written(value.prompts, new_tokens=value.new_tokens * many)


TASK: Final = Task(
    "completion",
    takes=CompletionInput,
    gives=CompletionResult,
    example=CompletionInput(prompts=["The three primary colours are"], max_tokens=12),
    most=most,
    piece=GenerationPiece,
)

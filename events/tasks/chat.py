"""The next message of a conversation."""

from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from events.tasks.generation import GenerationPiece
from events.tasks.task import MAX_CHARACTERS, Task, TaskResult
from events.tasks.writing import WritingInput, Written, most_written
from events.usage import Quantities

DEFAULT_TOKENS: Final = 1_024  # of one answer, or what the model's context leaves
MAX_MESSAGES: Final = 2_000  # a model's context ends long before

Role = Literal["system", "developer", "user", "assistant"]
Content = Annotated[str, Meta(max_length=MAX_CHARACTERS)]


class Message(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was said, and by whom; what a developer says is read as the system's."""

    role: Role
    content: Content


class ChatInput(WritingInput, frozen=True, kw_only=True):
    """A conversation, in which the assistant is next."""

    messages: Annotated[
        list[Message],
        Meta(
            min_length=1,
            max_length=MAX_MESSAGES,
            description="The oldest first, with roles in any order.",
        ),
    ]

    @property
    def texts(self) -> list[str]:
        """All that the caller brings, in the order in which the model reads it."""
        return [message.content for message in self.messages]


class ChatResult(TaskResult, frozen=True):
    """As many answers as were asked for."""

    answers: list[Written]


def most(value: ChatInput) -> Quantities:
    """The most that it can use, before a tokenizer has seen it."""
    new_tokens = value.sequences * (value.max_tokens or DEFAULT_TOKENS)
    return most_written(value.texts, new_tokens=new_tokens, instructed=True)


TASK: Final = Task(
    "chat",
    takes=ChatInput,
    gives=ChatResult,
    example=ChatInput(
        messages=[
            Message(role="system", content="You are an innkeeper."),
            Message(role="user", content="Is there a room for tonight?"),
        ],
        max_tokens=24,
    ),
    most=most,
    piece=GenerationPiece,
)

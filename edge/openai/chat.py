"""POST /v1/chat/completions.

Source: https://platform.openai.com/docs/api-reference/chat
"""

from functools import partial
from typing import Annotated, Final, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from edge import sse
from edge.called import Called
from edge.dialect import Asked
from edge.errors import InvalidInput
from edge.openai.arguments import (
    WRITING,
    Noted,
    NotHonoured,
    Refused,
    WritingArguments,
    usage_wanted,
)
from edge.openai.dialect import ChunkWriter, FinishReason, OpenAIDialect, Usage, encode, usage_of
from events.tasks import chat
from events.tasks.chat import MAX_MESSAGES, ChatInput, ChatResult, Content, Message, Role
from events.tasks.generation import GenerationPiece
from events.tasks.writing import MaxTokens
from events.usage import Quantities


class TextPart(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of a message."""

    type: Literal["text"]
    text: Content


class ChatMessage(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was said; texts in parts are read one below the other."""

    role: Role
    content: Content | Annotated[list[TextPart], Meta(min_length=1, max_length=MAX_MESSAGES)]
    name: Refused = None
    annotations: Refused = None
    tool_calls: Refused = None
    function_call: Refused = None
    refusal: Refused = None
    audio: Refused = None


class ChatArguments(WritingArguments, frozen=True, kw_only=True):
    """A conversation to go on with."""

    messages: Annotated[list[ChatMessage], Meta(min_length=1, max_length=MAX_MESSAGES)]
    max_completion_tokens: MaxTokens | None = None
    safety_identifier: Noted = None
    prompt_cache_key: Noted = None
    prompt_cache_retention: Noted = None
    audio: Refused = None
    function_call: Refused = None
    functions: Refused = None
    logprobs: Refused = None
    metadata: Refused = None
    modalities: Refused = None
    parallel_tool_calls: Refused = None
    prediction: Refused = None
    reasoning_effort: Refused = None
    response_format: Refused = None
    service_tier: Refused = None
    store: Refused = None
    tool_choice: Refused = None
    tools: Refused = None
    top_logprobs: Refused = None
    verbosity: Refused = None
    web_search_options: Refused = None


_NOT_HONOURED: Final = NotHonoured(
    {
        **WRITING,
        "audio": (),
        "function_call": ("none", "auto"),  # of no functions
        "functions": ([],),
        "logprobs": (False,),
        "metadata": ({},),
        "modalities": (["text"],),
        "parallel_tool_calls": (True, False),  # of no tools
        "prediction": (),
        "reasoning_effort": ("none",),
        "response_format": ({"type": "text"},),
        "service_tier": ("auto", "default"),
        "store": (False,),
        "tool_choice": ("none", "auto"),
        "tools": ([],),
        "top_logprobs": (0,),
        "verbosity": ("medium",),
        "web_search_options": (),
    }
)
_NOT_HONOURED_OF_A_MESSAGE: Final = NotHonoured(
    {
        "name": (),
        "annotations": ([],),
        "tool_calls": ([],),
        "function_call": (),
        "refusal": (),
        "audio": (),
    }
)


class AnswerMessage(Struct, frozen=True, kw_only=True):
    """What the assistant says."""

    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None


class ChatChoice(Struct, frozen=True, kw_only=True):
    """One answer."""

    index: int
    message: AnswerMessage
    logprobs: None = None
    finish_reason: FinishReason


class ChatCompletion(Struct, frozen=True, kw_only=True):
    """As many answers as were asked for."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage


class Delta(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a chunk adds to an answer: the first its role, the last nothing."""

    role: Literal["assistant"] | UnsetType = UNSET
    content: str | UnsetType = UNSET


class ChunkChoice(Struct, frozen=True, kw_only=True):
    """Which answer it is added to, and why that ends, if it does."""

    index: int
    delta: Delta
    logprobs: None = None
    finish_reason: FinishReason | None = None


class ChatChunk(Struct, frozen=True, kw_only=True):
    """One message of a stream; id and time are the same in all."""

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: Usage | UnsetType | None = UNSET  # null in all but the last, if it is wanted


class ChatDialect(OpenAIDialect[ChatArguments]):
    """The task `chat`."""

    def asked(self, body: ChatArguments) -> Asked:
        """What a conversation asks."""
        _NOT_HONOURED.refuse(body)
        usage = usage_wanted(body)
        value = ChatInput(
            messages=[_message(*numbered) for numbered in enumerate(body.messages)],
            max_tokens=_max_tokens(body),
            **body.written(),
        )
        writer = partial(ChatWriter, model=body.model, texts=value.sequences, usage=usage)
        return Asked(
            target=Called(body.model, self.task.name),
            task=self.task,
            value=value,
            input=self.task.encode(value),
            writer=writer,
            stream_writer=writer,
        )


def _message(number: int, message: ChatMessage) -> Message:
    _NOT_HONOURED_OF_A_MESSAGE.refuse(message, at=f"messages[{number}].")
    content = message.content
    if not isinstance(content, str):
        content = "\n".join(part.text for part in content)
    return Message(role=message.role, content=content)


def _max_tokens(body: ChatArguments) -> int | None:
    old, new = body.max_tokens, body.max_completion_tokens
    if old is not None and new is not None and old != new:
        message = "`max_tokens` is the old name of `max_completion_tokens`; send one of them"
        raise InvalidInput(message, param="max_tokens")
    return old if new is None else new


class ChatWriter(ChunkWriter):
    """Writes a `ChatCompletion`, or the chunks of one."""

    PREFIX = "chatcmpl"

    def whole(self, _result: bytes, value: ChatResult, used: Quantities) -> bytes:
        """A `ChatCompletion`."""
        choices = [
            ChatChoice(
                index=index,
                message=AnswerMessage(content=answer.text),
                finish_reason=answer.reason,
            )
            for index, answer in enumerate(value.answers)
        ]
        return encode(
            ChatCompletion(
                id=self._id,
                created=self._created,
                model=self._model,
                choices=choices,
                usage=usage_of(used),
            )
        )

    def begin(self) -> bytes:
        """Whose words they are."""
        first = Delta(role="assistant", content="")
        return b"".join(self._chunk(index, first) for index in range(self._texts))

    def piece(self, _piece: bytes, value: GenerationPiece) -> bytes:
        """What is added to one of them, and that it ends."""
        index = value.index or 0
        added = self._chunk(index, Delta(content=value.text)) if value.text else b""
        return added + (self._chunk(index, Delta(), value.reason) if value.reason else b"")

    def ended(self, reason: FinishReason) -> bytes:
        """A chunk that adds nothing."""
        return self._chunk(0, Delta(), reason)

    def told(self, usage: Usage) -> bytes:
        """A chunk without a choice."""
        return self._event([], usage)

    def _chunk(self, index: int, delta: Delta, reason: FinishReason | None = None) -> bytes:
        choice = ChunkChoice(index=index, delta=delta, finish_reason=reason)
        return self._event([choice], None)

    def _event(self, choices: list[ChunkChoice], usage: Usage | None) -> bytes:
        chunk = ChatChunk(
            id=self._id,
            created=self._created,
            model=self._model,
            choices=choices,
            usage=usage if self._usage else UNSET,
        )
        return sse.event(encode(chunk))


DIALECT: Final = ChatDialect(
    "chat_completions",
    task=chat.TASK,
    takes=ChatArguments,
    gives=ChatCompletion,
    piece=ChatChunk,
    example={
        "model": "SmolLM2-135M-Instruct",
        "messages": [{"role": "user", "content": "Name a fruit."}],
        "max_completion_tokens": 24,
    },
)

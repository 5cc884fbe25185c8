"""POST /v1/completions.

Source: https://platform.openai.com/docs/api-reference/completions
"""

from functools import partial
from typing import Final, Literal

from msgspec import UNSET, Struct, UnsetType

from edge import sse
from edge.called import Called
from edge.dialect import Asked
from edge.openai.arguments import (
    WRITING,
    NotHonoured,
    Refused,
    TextOrTokens,
    WritingArguments,
    prompts_of,
    usage_wanted,
)
from edge.openai.dialect import ChunkWriter, FinishReason, OpenAIDialect, Usage, encode, usage_of
from events.tasks import completion
from events.tasks.completion import MAX_PROMPTS, CompletionInput, CompletionResult
from events.tasks.generation import GenerationPiece
from events.usage import Quantities


class CompletionArguments(WritingArguments, frozen=True, kw_only=True):
    """What is to be gone on from; each prompt has `n` texts."""

    prompt: TextOrTokens
    best_of: Refused = None
    echo: Refused = None
    logprobs: Refused = None
    suffix: Refused = None


_NOT_HONOURED: Final = NotHonoured(
    {**WRITING, "best_of": (1,), "echo": (False,), "logprobs": (), "suffix": ("",)}
)


class CompletionChoice(Struct, frozen=True, kw_only=True):
    """One text, or what a chunk adds to it, and why it ends, if it does."""

    index: int
    text: str
    logprobs: None = None
    finish_reason: FinishReason | None


class Completion(Struct, frozen=True, kw_only=True):
    """The first prompt's texts, then the next one's; or a chunk of them."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: Usage | UnsetType | None = UNSET  # null in all but a stream's last, if it is wanted


class CompletionDialect(OpenAIDialect[CompletionArguments]):
    """The task `completion`."""

    def asked(self, body: CompletionArguments) -> Asked:
        """What prompts ask."""
        _NOT_HONOURED.refuse(body)
        usage = usage_wanted(body)
        value = CompletionInput(
            prompts=prompts_of(body.prompt, "prompt", at_most=MAX_PROMPTS),
            max_tokens=body.max_tokens,
            **body.written(),
        )
        texts = value.sequences * len(value.prompts)
        writer = partial(CompletionWriter, model=body.model, texts=texts, usage=usage)
        return Asked(
            target=Called(body.model, self.task.name),
            task=self.task,
            value=value,
            input=self.task.encode(value),
            writer=writer,
            stream_writer=writer,
        )


class CompletionWriter(ChunkWriter):
    """Writes a `Completion`, or the chunks of one."""

    PREFIX = "cmpl"

    def whole(self, _result: bytes, value: CompletionResult, used: Quantities) -> bytes:
        """A `Completion`."""
        choices = [
            CompletionChoice(index=index, text=text.text, finish_reason=text.reason)
            for index, text in enumerate(value.texts)
        ]
        return self._completion(choices, usage_of(used))

    def begin(self) -> bytes:
        """Nothing."""
        return b""

    def piece(self, _piece: bytes, value: GenerationPiece) -> bytes:
        """What is added to one of them, and that it ends."""
        return self._chunk(value.index or 0, value.text, value.reason or None)

    def ended(self, reason: FinishReason) -> bytes:
        """A chunk that adds nothing."""
        return self._chunk(0, "", reason)

    def told(self, usage: Usage) -> bytes:
        """A chunk without a choice."""
        return self._event([], usage)

    def _chunk(self, index: int, text: str, reason: FinishReason | None) -> bytes:
        return self._event([CompletionChoice(index=index, text=text, finish_reason=reason)], None)

    def _event(self, choices: list[CompletionChoice], usage: Usage | None) -> bytes:
        return sse.event(self._completion(choices, usage if self._usage else UNSET))

    def _completion(
        self, choices: list[CompletionChoice], usage: Usage | UnsetType | None
    ) -> bytes:
        return encode(
            Completion(
                id=self._id,
                created=self._created,
                model=self._model,
                choices=choices,
                usage=usage,
            )
        )


DIALECT: Final = CompletionDialect(
    "completions",
    task=completion.TASK,
    takes=CompletionArguments,
    gives=Completion,
    piece=Completion,
    example={
        "model": "SmolLM2-135M-Instruct",
        "prompt": "The three primary colours are",
        "max_tokens": 12,
    },
    params={"prompts": "prompt"},
)

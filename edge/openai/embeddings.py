"""POST /v1/embeddings.

Source: https://platform.openai.com/docs/api-reference/embeddings
"""

import base64
import struct
from functools import partial
from typing import Annotated, Final, Literal
from uuid import UUID

from msgspec import Meta, Struct

from edge.called import Called
from edge.dialect import Asked
from edge.openai.arguments import Arguments, TextOrTokens, prompts_of
from edge.openai.dialect import OpenAIDialect, Usage, encode
from events.tasks import embeddings
from events.tasks.embeddings import (
    MAX_SENTENCES,
    Dimensions,
    EmbeddingsInput,
    EmbeddingsResult,
)
from events.usage import Quantities

Encoding = Literal["float", "base64"]


class EmbeddingArguments(Arguments, frozen=True, kw_only=True):
    """What is to become vectors."""

    input: TextOrTokens
    encoding_format: Annotated[
        Encoding | None,
        Meta(description="`base64` is of little-endian float32; `float` if null."),
    ] = None
    dimensions: Dimensions | None = None


class Embedding(Struct, frozen=True, kw_only=True):
    """One vector."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class EmbeddingList(Struct, frozen=True, kw_only=True):
    """One vector for each input, in their order."""

    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: Usage


class EmbeddingDialect(OpenAIDialect[EmbeddingArguments]):
    """The task `embeddings`."""

    def asked(self, body: EmbeddingArguments) -> Asked:
        """What inputs ask."""
        value = EmbeddingsInput(
            sentences=prompts_of(body.input, "input", at_most=MAX_SENTENCES),
            dimensions=body.dimensions,
        )
        return Asked(
            target=Called(body.model, self.task.name),
            task=self.task,
            value=value,
            input=self.task.encode(value),
            writer=partial(
                EmbeddingWriter, model=body.model, encoding=body.encoding_format or "float"
            ),
        )


class EmbeddingWriter(Struct, frozen=True):
    """Writes an `EmbeddingList`; there are no streams of it."""

    request_id: UUID
    model: str
    encoding: Encoding

    def whole(self, _result: bytes, value: EmbeddingsResult, used: Quantities) -> bytes:
        """The list."""
        vectors = value.embeddings
        data = [
            Embedding(index=index, embedding=_base64(one) if self.encoding == "base64" else one)
            for index, one in enumerate(vectors)
        ]
        usage = Usage(prompt_tokens=used.input_tokens, total_tokens=used.input_tokens)
        return encode(EmbeddingList(data=data, model=self.model, usage=usage))


def _base64(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


DIALECT: Final = EmbeddingDialect(
    "openai_embeddings",
    task=embeddings.TASK,
    takes=EmbeddingArguments,
    gives=EmbeddingList,
    example={
        "model": "all-MiniLM-L6-v2",
        "input": ["A gate, a meter and a till.", "It is raining."],
    },
    params={"sentences": "input"},
)

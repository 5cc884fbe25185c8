"""What the three dialects of OpenAI's clients have in common."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Final, Generic, Literal, TypeVar
from uuid import UUID

import msgspec
from msgspec import Struct

from edge import problem, sse
from edge.called import Called
from edge.dialect import Asked
from edge.errors import BadRequest, EdgeError, InvalidInput, WorkerGone
from edge.input import decode
from edge.openai.arguments import Arguments
from events.ids import milliseconds_of
from events.tasks import Task
from events.usage import Quantities

DONE: Final = sse.event(b"[DONE]")  # who does not see it has less than the whole

encode: Final = msgspec.json.Encoder().encode  # a chunk, or an answer
FinishReason = Literal["stop", "length"]
Body = TypeVar("Body", bound=Arguments)


class Usage(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a request used, in tokens."""

    prompt_tokens: int
    completion_tokens: int | None = None
    total_tokens: int


class OpenAIDialect(ABC, Generic[Body]):
    """One route: the body names the model, and is put into the words of a task.

    A result is of the route's own type, and errors that are 422 elsewhere are 400:
    that is what these clients know as a request that has to be mended.

    Args:
        label: What the metrics call it.
        task: That the models are asked for.
        takes: The body.
        gives: The answer.
        piece: What a stream is made of; None where there is none.
        example: A body, for the documentation.
        params: What the task's fields are called here, where that is something else.
    """

    def __init__(
        self,
        label: str,
        *,
        task: Task,
        takes: type[Body],
        gives: type[Struct],
        example: Mapping[str, Any],
        piece: type[Struct] | None = None,
        params: Mapping[str, str] = {},
    ) -> None:
        self.label = label
        self.task = task
        self.takes = takes
        self.gives = gives
        self.piece = piece
        self.example = example
        self.target = Called("", task.name)
        self._params = {"task": "model", **params}
        self._decoder = msgspec.json.Decoder(takes)

    def read(self, body: bytes) -> Asked:
        """Read what is asked; raises as `edge.input.decode`, and Unsupported."""
        return self.asked(decode(self._decoder.decode, body))

    @abstractmethod
    def asked(self, body: Body) -> Asked:
        """What a body asks of the task."""

    def refusal(self, error: EdgeError) -> EdgeError:
        """The same, by the names of this route's arguments."""
        if error.param is not None:
            error.param = self._params.get(error.param, error.param)
        return error if self.status(error.status) == error.status else BadRequest(error)

    def status(self, ours: int) -> int:
        """What is answered here where our own routes answer `ours`."""
        return BadRequest.status if ours == InvalidInput.status else ours


class ChunkWriter(ABC):
    """Server-sent events of chunks that are alike but for what they add.

    Args:
        request_id: Under which the request is metered.
        model: As it was asked for.
        texts: How many there will be.
        usage: Whether a stream is to say what was used.
    """

    PREFIX: ClassVar[str]  # of the id that all chunks have

    def __init__(self, request_id: UUID, *, model: str, texts: int, usage: bool) -> None:
        self._request_id = request_id
        self._id = f"{self.PREFIX}-{request_id.hex}"
        self._model = model
        self._texts = texts
        self._usage = usage
        self._created = milliseconds_of(request_id) // 1_000

    @abstractmethod
    def ended(self, reason: FinishReason) -> bytes:
        """Why the only text ended."""

    @abstractmethod
    def told(self, usage: Usage) -> bytes:
        """What was used, and no text."""

    def end(self, reason: FinishReason | Literal["cancelled"], used: Quantities) -> bytes:
        """The last chunks, and the mark of a stream that is whole."""
        if reason == "cancelled":
            return self.cut(
                WorkerGone("the worker left before the text was whole; try again"), used
            )
        ended = self.ended(reason) if self._texts == 1 else b""  # of several, pieces say it
        told = self.told(usage_of(used)) if self._usage else b""
        return ended + told + DONE

    def cut(self, error: EdgeError, _used: Quantities) -> bytes:
        """An error in place of it: of a limit, too, since these clients know no other end."""
        return sse.event(problem.body(error, self._request_id))


def usage_of(used: Quantities) -> Usage:
    """What was used, in these clients' words."""
    return Usage(
        prompt_tokens=used.input_tokens,
        completion_tokens=used.output_tokens,
        total_tokens=used.input_tokens + used.output_tokens,
    )

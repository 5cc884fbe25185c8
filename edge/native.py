"""Our own dialect: the path names model and task, and the body is the task's input."""

from typing import Any, Final
from uuid import UUID

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from edge import problem, sse
from edge.called import Called
from edge.dialect import Asked
from edge.errors import BudgetExhausted, EdgeError, RateLimited
from edge.input import decode_input
from events.plans import show_money
from events.tasks import Task
from events.usage import Quantities

UNKNOWN_TASK: Final = "unknown_task"  # one label for all tasks that there are not


class StreamEnd(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The last event of a stream that is whole, or as long as its limits allow."""

    reason: str  # stop, length; budget or limit, where one of them ended it
    usage: Quantities  # of the whole stream
    cost: str | None = None  # in the currency's unit
    policy: str | None = None  # the limit that ended it, if one did
    message: str | None = None  # what to do about that


class Native(Struct, frozen=True):
    """One request's path; the task is None where there is none of that name."""

    target: Called
    task: Task | None

    @property
    def label(self) -> str:
        """The task's name, if there is such a task."""
        return self.task.name if self.task else UNKNOWN_TASK

    def read(self, body: bytes) -> Asked:
        """Read the task's input; raises as `decode_input`."""
        assert self.task is not None  # the route has seen to it
        value = decode_input(self.task, body)
        return Asked(
            target=self.target,
            task=self.task,
            value=value,
            input=body,
            writer=NativeWriter,
            stream_writer=NativeWriter,
        )

    def refusal(self, error: EdgeError) -> EdgeError:
        """As it is."""
        return error


class NativeWriter(Struct, frozen=True):
    """Passes on what the worker wrote."""

    request_id: UUID

    def whole(self, result: bytes, _value: Any, _used: Quantities) -> bytes:  # noqa: ANN401 - any task's
        """The result."""
        return result

    def begin(self) -> bytes:
        """Nothing."""
        return b""

    def piece(self, piece: bytes, _value: Any) -> bytes:  # noqa: ANN401 - any task's
        """A plain message."""
        return sse.event(piece)

    def end(self, reason: str, used: Quantities) -> bytes:
        """The event `end`."""
        return _end(reason, used)

    def cut(self, error: EdgeError, used: Quantities) -> bytes:
        """The event `end` where a limit was reached, else `error`."""
        if isinstance(error, BudgetExhausted):
            return _end("budget", used, error)
        if isinstance(error, RateLimited):
            return _end("limit", used, error)
        return sse.event(problem.body(error, self.request_id), "error")


def _end(reason: str, used: Quantities, refused: EdgeError | None = None) -> bytes:
    end = StreamEnd(
        reason=reason,
        usage=replace(used, cost=0),
        cost=show_money(used.cost) if used.cost else None,
        policy=refused.policy if refused else None,
        message=refused.message if refused else None,
    )
    return sse.event(msgspec.json.encode(end), "end")

"""Reading what a caller sent into a task's input."""

import re
from collections.abc import Callable
from typing import Annotated, Any, Final, TypeVar

import msgspec
from msgspec import Meta

from edge.errors import InvalidInput, MalformedJson, NulCharacter
from events.plans import money
from events.tasks import Task

#: An address on the web, as callers may give one.
Url = Annotated[str, Meta(max_length=2_000, pattern=r"^https?://[^\s\x00]+$")]
Value = TypeVar("Value")

MESSAGE_CHARACTERS: Final = 500  # of a refusal: it names what was sent, which may be megabytes
PARAM_CHARACTERS: Final = 200

_AT: Final = re.compile(r" - at `\$\.?([^`]*)`$")
_UNKNOWN_FIELD: Final = re.compile(r"unknown field `([^`]*)`")
_MISSING_FIELD: Final = re.compile(r"missing required field `([^`]*)`")
_OWN_CHECK: Final = re.compile(r"^`([^`]*)`")  # how an input type's own checks begin


def decode_input(task: Task, body: bytes) -> Any:  # noqa: ANN401 - an instance of task.takes
    """The input in `body`; raises as `decode`."""
    return decode(task.decode_input, body)


def decode(read: Callable[[bytes], Value], body: bytes) -> Value:
    """What `read` makes of a caller's JSON.

    Raises:
        MalformedJson: not JSON, not UTF-8, or nested beyond reason.
        InvalidInput: JSON of another shape; `param` names the field.
        NulCharacter: a text holds U+0000, which no tokenizer and no database likes.
    """
    try:
        value = read(body)
        # the six bytes may also be a backslash and "u0000": only then is a closer look due
        has_nul = rb"\u0000" in body and _has_nul(msgspec.to_builtins(value))
    except msgspec.ValidationError as error:
        raise invalid(error) from error
    except UnicodeDecodeError as error:
        message = f"the body is not UTF-8: byte {error.start} of a text cannot be read"
        raise MalformedJson(message) from error
    except RecursionError as error:
        raise MalformedJson("the body is nested too deeply") from error
    except msgspec.DecodeError as error:
        message = f"send one JSON object in UTF-8: {error}"
        raise MalformedJson(message) from error
    if has_nul:
        raise NulCharacter("remove the NUL characters (U+0000) from the text")
    return value


def money_of(amount: str, param: str) -> int:
    """An amount that a caller sent, in billionths.

    Raises:
        InvalidInput: it is no amount of money.
    """
    try:
        return money(amount)
    except ValueError as error:
        raise InvalidInput(str(error), param=param) from error


def invalid(error: msgspec.ValidationError) -> InvalidInput:
    """What msgspec says, with the field at fault as `param`; both cut where they are long."""
    message = str(error)
    found = _AT.search(message)
    param = found[1] if found else None
    for named in (_UNKNOWN_FIELD, _MISSING_FIELD, _OWN_CHECK):
        if field := named.search(message):
            param = f"{param}.{field[1]}" if param else field[1]
    if r"matching regex '\\S'" in message:
        message = f"{param} is blank; send some text"
    message = _cut(message[:1].lower() + message[1:], MESSAGE_CHARACTERS)
    return InvalidInput(message, param=param and _cut(param, PARAM_CHARACTERS))


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _has_nul(value: Any) -> bool:  # noqa: ANN401 - any JSON
    match value:
        case str():
            return "\0" in value
        case dict():
            return any(_has_nul(item) for pair in value.items() for item in pair)
        case list() | tuple():
            return any(_has_nul(item) for item in value)
        case _:
            return False

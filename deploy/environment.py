"""Settings from the environment: TOLLGATE_NATS_URL is the field `nats_url`."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Struct

from deploy.errors import DeployError

PREFIX: Final = "TOLLGATE_"
ENVIRONMENT_FILE: Final = "environment.json"  # in a home, while `tollgate up` runs on it

S = TypeVar("S", bound=Struct)


class BadSettings(DeployError):
    """A variable is missing or wrong; the message names it."""


def environment_for_commands() -> Mapping[str, str]:
    """The environment, completed by a `tollgate up` that runs in this folder.

    Its home is TOLLGATE_HOME, or ``.tollgate`` here. So that what is typed into another
    terminal finds its servers; the processes themselves read their environment alone.
    """
    path = Path(os.environ.get("TOLLGATE_HOME", ".tollgate")) / ENVIRONMENT_FILE
    try:
        running = msgspec.json.decode(path.read_bytes(), type=dict[str, str])
    except (OSError, msgspec.DecodeError):
        running = {}
    return {**running, **os.environ}


def read_settings(kind: type[S], environment: Mapping[str, str], **given: object) -> S:
    """Read one process's settings.

    Args:
        kind: The process's settings struct; each field is one variable.
        environment: Usually `os.environ`.
        given: Values that a command's options have set; they win.

    Raises:
        BadSettings: with the variable's name.
    """
    values: dict[str, Any] = {
        field.name: _text(environment[variable(field.name)], field.name)
        for field in msgspec.structs.fields(kind)
        if environment.get(variable(field.name))  # an empty one is an unset one
    }
    values.update({name: value for name, value in given.items() if value is not None})
    try:
        return msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as error:
        raise BadSettings(_by_variable(str(error), kind)) from error


def _text(value: str, field: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as error:  # Python hides other bytes in halves of characters
        raise BadSettings(f"{variable(field)} is not UTF-8") from error
    return value


def variable(field: str) -> str:
    """The environment variable of a field."""
    return PREFIX + field.upper()


def _by_variable(message: str, kind: type[Struct]) -> str:
    """A message of msgspec's that speaks of variables instead of fields."""
    message = message.removeprefix("Object missing required field ")
    for field in msgspec.structs.fields(kind):
        if message == f"`{field.name}`":
            return f"set {variable(field.name)}"
        message = message.replace(f" - at `$.{field.name}`", f" in {variable(field.name)}")
    return message

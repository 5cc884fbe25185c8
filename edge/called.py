"""The grammar of inference paths: which model and which task one calls for."""

import re
from typing import Final
from urllib.parse import unquote

from msgspec import Struct

from events.models import CUSTOM, LANGUAGE, RESERVED

_LANGUAGE: Final = re.compile(LANGUAGE)


class Called(Struct, frozen=True):
    """The model and the task that a path names, and how they are to be asked."""

    model: str
    task: str
    language: str = ""  # of the text, if the path names one
    asynchronous: bool = False  # whether the caller comes back for the answer


def called(raw_path: bytes) -> Called | None:
    """What ``/v1/[gpu/][async/][{language}/]{model}/{task}`` calls for.

    A model is one segment, with a slash in its name encoded; ``custom_model/{id}`` is a
    model's name, too.

    Args:
        raw_path: As sent, so that an encoded slash is part of a name.

    Returns:
        None where the path is not of this form, or its first segment means something else.
    """
    match raw_path.decode("latin-1").split("/"):
        case ["", "v1", *named, task] if task:
            pass
        case _:
            return None
    if named and named[0] == "gpu":
        del named[0]
    if asynchronous := bool(named and named[0] == "async"):
        del named[0]
    language = ""
    if len(named) > 1 and named[0] != CUSTOM:
        language = named.pop(0)
        if language in RESERVED or not _LANGUAGE.match(language):
            return None
    match named:
        case [model] if model and model != CUSTOM and model not in RESERVED:
            pass
        case ["custom_model", number] if number:
            model = f"{CUSTOM}/{number}"
        case _:
            return None
    return Called(unquote(model), unquote(task), language, asynchronous)

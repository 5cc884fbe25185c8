"""The grammar of inference paths: which model and which task one calls for."""

import re
from typing import Final
from urllib.parse import unquote

from msgspec import Struct

from events.models import LANGUAGE, RESERVED

_LANGUAGE: Final = re.compile(LANGUAGE)


class Called(Struct, frozen=True):
    """The model and the task that a path names, and the language, if it names one."""

    model: str
    task: str
    language: str = ""


def called(raw_path: bytes) -> Called | None:
    """What ``/v1/{model}/{task}`` calls for.

    The same may lie below ``/v1/gpu/``, and below a language: ``/v1/gpu/fr/{model}/{task}``.

    Args:
        raw_path: As sent, so that an encoded slash is part of a name.

    Returns:
        None where the path is not of this form, or its first segment means something else.
    """
    match raw_path.decode("latin-1").split("/"):
        case ["", "v1", "gpu", model, task] | ["", "v1", model, task]:
            language = ""
        case ["", "v1", "gpu", language, model, task] | ["", "v1", language, model, task]:
            if language in RESERVED or not _LANGUAGE.match(language):
                return None
        case _:
            return None
    if model in RESERVED or not model or not task:
        return None
    return Called(unquote(model), unquote(task), language)

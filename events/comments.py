"""What the source says beside the fields of a contract, for the documents made of them."""

import inspect
import sys
import tokenize
from collections.abc import Iterator, Mapping
from functools import lru_cache
from io import StringIO
from typing import Final

from msgspec import Struct

FIELD: Final = 4  # columns before it
_NOTHING: Final = tokenize.TokenInfo(tokenize.ENDMARKER, "", (-1, -1), (-1, -1), "")


def docstring(contract: type) -> str:
    """What a contract says of itself."""
    return inspect.getdoc(contract) or ""


def comments(contract: type) -> Mapping[str, str]:
    """The comment beside each field of a struct, and of those that it extends."""
    found: dict[str, str] = {}
    for kind in reversed(contract.__mro__):
        if issubclass(kind, Struct) and kind is not Struct:
            found.update(_commented(kind.__module__).get(kind.__qualname__, {}))
    return found


@lru_cache
def _commented(module: str) -> Mapping[str, Mapping[str, str]]:
    """The comments beside fields of all of a module's classes, by the class's name.

    By tokens: Python 3.11 cannot parse a source into a tree while a finalizer does it, too.
    """
    found: dict[str, dict[str, str]] = {}
    fields: dict[str, str] = {}
    for words, said in _lines(inspect.getsource(sys.modules[module])):
        first, second, *_ = [*words, _NOTHING, _NOTHING]
        if first.start[1] == 0:
            fields = found.setdefault(second.string, {}) if first.string == "class" else {}
        elif first.start[1] == FIELD and first.type == tokenize.NAME and second.string == ":":
            fields[first.string] = said
    return {
        name: {field: said for field, said in one.items() if said} for name, one in found.items()
    }


def _lines(source: str) -> Iterator[tuple[list[tokenize.TokenInfo], str]]:
    """Each statement's words, on however many lines they are, and the comments beside them."""
    words: list[tokenize.TokenInfo] = []
    said: list[str] = []
    for token in tokenize.generate_tokens(StringIO(source).readline):
        match token.type:
            case tokenize.NEWLINE:
                yield words, " ".join(said)
                words, said = [], []
            case tokenize.COMMENT if words:  # else it has a line of its own
                said.append(token.string.lstrip("#: "))
            case tokenize.COMMENT | tokenize.NL | tokenize.INDENT | tokenize.DEDENT:
                pass
            case _:
                words.append(token)

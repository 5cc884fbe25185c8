"""What the source says beside the fields of a contract, for the documents made of them."""

import ast
import inspect
import sys
import tokenize
from collections.abc import Iterator, Mapping
from functools import lru_cache
from io import StringIO

from msgspec import Struct


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
    """The comments beside fields of all of a module's classes, by the class's name."""
    source = inspect.getsource(sys.modules[module])
    beside = {
        token.start[0]: token.string.lstrip("#: ")
        for token in tokenize.generate_tokens(StringIO(source).readline)
        if token.type == tokenize.COMMENT
    }
    return {
        node.name: dict(_fields(node, beside))
        for node in ast.parse(source).body
        if isinstance(node, ast.ClassDef)
    }


def _fields(definition: ast.ClassDef, beside: Mapping[int, str]) -> Iterator[tuple[str, str]]:
    for field in definition.body:
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            lines = range(field.lineno, (field.end_lineno or field.lineno) + 1)
            if said := " ".join(beside[line] for line in lines if line in beside):
                yield field.target.id, said

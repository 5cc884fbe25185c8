"""Forms with brackets: ``items[0][price]=price_1`` and what they stand for."""

import re
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any
from urllib.parse import parse_qsl

from tests.stripe.errors import Refused

Params = dict[str, Any]  # text, lists and nested ones; nothing else comes through a form

_PART = re.compile(r"\[([^\]]*)\]")


def parse(encoded: str) -> Params:
    """Read a query or a body.

    Raises:
        Refused: its brackets make no sense.
    """
    tree: Params = {}
    for key, value in parse_qsl(encoded, keep_blank_values=True):
        name, bracket, rest = key.partition("[")
        parts = [name, *_PART.findall(bracket + rest)]
        where = tree
        for part, following in pairwise(parts):
            key_ = part or str(len(where))
            where = where.setdefault(key_, {})
            if not isinstance(where, dict):
                raise Refused(f"Invalid {following} in {key}", param=name)
        where[parts[-1] or str(len(where))] = value
    return {name: _listed(value) for name, value in tree.items()}


def of(values: Mapping[str, Any]) -> Params:
    """The same from Python's own values, as a form would have carried them."""
    return {name: _text(value) for name, value in values.items() if value is not None}


def _text(value: Any) -> Any:
    if isinstance(value, Mapping):
        return of(value)
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [_text(one) for one in value]
    return str(value).lower() if isinstance(value, bool) else str(value)


def _listed(value: Any) -> Any:
    """Whose keys count up from nought is a list."""
    if not isinstance(value, dict):
        return value
    values = {name: _listed(inner) for name, inner in value.items()}
    numbered = [str(number) for number in range(len(values))]
    return list(values.values()) if list(values) == numbered else values

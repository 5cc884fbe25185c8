"""What Stripe would never say: real answers of the stand-in with a field gone, or another."""

import copy
import json
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

GONE = object()
DEEP = "as deep as it goes"
DEPTH = 900
JUNK: tuple[Any, ...] = (
    GONE,
    None,
    True,
    0,
    -1,
    2.5,
    10**30,
    float("nan"),
    "",
    "5",
    "\0",
    "\ud800",
    DEEP,
    [],
    [None],
    {},
    {"id": 7, "data": None},
)

Path = tuple[str | int, ...]


def nonsense(real: Any) -> st.SearchStrategy[str]:
    """Texts of a real answer, of which one to three things are otherwise."""
    changes = st.tuples(st.sampled_from(list(_paths(real))), st.sampled_from(JUNK))
    return st.lists(changes, min_size=1, max_size=3).map(lambda drawn: _changed(real, drawn))


def halves(real: Any) -> Iterator[str]:
    """Texts of a real answer, of which each thing in turn is half a character."""
    for path in _paths(real):
        yield _changed(real, [(path, "\ud800")])


def _changed(real: Any, changes: list[tuple[Path, Any]]) -> str:
    changed = copy.deepcopy(real)
    for (*before, last), junk in changes:
        inner = changed
        try:
            for step in before:
                inner = inner[step]
            if junk is GONE:
                del inner[last]
            else:
                inner[last] = copy.deepcopy(junk)  # the next change may be within it
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change took that away
    return json.dumps(changed).replace(f'"{DEEP}"', "[" * DEPTH + "]" * DEPTH)


def _paths(value: Any, before: Path = ()) -> Iterator[Path]:
    inner: list[tuple[str | int, Any]] = []
    if isinstance(value, dict):
        inner = list(value.items())
    elif isinstance(value, list):
        inner = list(enumerate(value))
    for name, one in inner:
        yield (*before, name)
        yield from _paths(one, (*before, name))

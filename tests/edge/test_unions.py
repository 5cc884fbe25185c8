"""What msgspec 0.22 cannot hold: a text that has a pattern in a union with a list or an object.

It frees what it still uses of such a type, and the process dies in a later garbage
collection: in a test run with PYTHONMALLOC=debug at once, in production some day.
"""

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.inspect import (
    DictType,
    ListType,
    NoneType,
    StrType,
    StructType,
    Type,
    UnionType,
    VarTupleType,
    type_info,
)

import consumers.app
import edge.app
from events.tasks import all_tasks

CONTAINERS = (DictType, ListType, VarTupleType, StructType)


def contracts(base: type[Struct] = Struct) -> Iterator[type[Struct]]:
    for contract in base.__subclasses__():
        if not contract.__module__.startswith(("msgspec", "litestar", "tests")):
            yield contract
        yield from contracts(contract)


def deadly(kind: Any, seen: set[int]) -> bool:
    """Whether there is such a union within a type."""
    if id(kind) in seen:
        return False
    seen.add(id(kind))
    if isinstance(kind, UnionType):
        texts = any(isinstance(one, StrType) and one.pattern for one in kind.types)
        if texts and any(isinstance(one, CONTAINERS) for one in kind.types):
            return True
    return any(deadly(inner, seen) for inner in _within(kind))


def _within(kind: Any) -> Iterator[Any]:
    for name in kind.__struct_fields__:
        value = getattr(kind, name)
        for one in value if isinstance(value, tuple) else (value,):
            if isinstance(one, Type):
                yield one
            elif isinstance(one, msgspec.inspect.Field):
                yield one.type


def test_no_contract_has_a_union_that_msgspec_cannot_hold() -> None:
    assert edge.app
    assert consumers.app
    assert all_tasks()
    found = [contract for contract in contracts() if not getattr(contract, "__parameters__", ())]

    assert len(found) > 100
    assert not [contract for contract in found if deadly(type_info(contract), set())]


def test_one_that_it_cannot_hold_is_found() -> None:
    """The control, by hand: who asks msgspec to read such a type has it."""
    text, texts = StrType(pattern="a"), ListType(StrType())

    assert deadly(ListType(UnionType((text, texts))), set())
    assert not deadly(ListType(UnionType((text, NoneType()))), set())
    assert not deadly(UnionType((StrType(), texts)), set())

"""JSON schemas of what goes in and comes out, described as in the source.

msgspec decodes and encodes it, so msgspec also says what it looks like.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any, Final, get_args, get_origin, get_type_hints

import msgspec
from litestar import Response
from msgspec import Struct
from msgspec.inspect import CustomType, Type, multi_type_info

from events.comments import comments, docstring

REFERENCE: Final = "#/components/schemas/{name}"


def schemas(types: Sequence[Any]) -> dict[str, Any]:
    """The schemas of these types and of all that they are made of, by name."""
    _, found = msgspec.json.schema_components(types, ref_template=REFERENCE)
    for contract in _structs(types):
        schema = found[contract.__name__]
        schema["description"] = docstring(contract)
        if not schema.get("required"):
            schema.pop("required", None)
        said = comments(contract)
        for field in msgspec.structs.fields(contract):
            property_ = schema["properties"][field.encode_name]
            if comment := said.get(field.name):
                property_.setdefault("description", comment)
            if datetime in {field.type, *get_args(field.type)}:
                _date(property_)
    return found


def _date(schema: dict[str, Any]) -> None:
    """Say of a text that it is a moment: msgspec does so only of those with a zone for certain."""
    for kind in schema.get("anyOf", [schema]):
        if kind.get("type") == "string":
            kind["format"] = "date-time"


def types_of(handler: Callable[..., Any]) -> Sequence[Any]:
    """The types of a handler's body and of its answer, as far as they are structured."""
    hints = get_type_hints(handler)
    found = [hints.get("data"), hints.get("return")]
    bare = [get_args(kind)[0] if get_origin(kind) is Response else kind for kind in found]
    return [kind for kind in bare if isinstance(kind, type) and issubclass(kind, Struct)]


def _structs(types: Sequence[Any]) -> set[type[Struct]]:
    """All structs among these types, and within them."""
    found: set[type[Struct]] = set()

    def walk(kind: Any) -> None:  # noqa: ANN401 - whatever msgspec says of a type
        if contract := getattr(kind, "cls", None):
            if contract in found:
                return
            if isinstance(contract, type) and issubclass(contract, Struct):
                found.add(contract)
        for inner in _within(kind):
            walk(inner)

    for kind in multi_type_info(types):
        walk(kind)
    return found


def _within(kind: Any) -> Iterator[Any]:  # noqa: ANN401 - as above
    if isinstance(kind, CustomType):
        return
    for name in kind.__struct_fields__:
        value = getattr(kind, name)
        for one in value if isinstance(value, tuple) else (value,):
            if isinstance(one, Type):
                yield one
            elif isinstance(one, msgspec.inspect.Field):
                yield one.type

"""JSON schemas as tables that people read: a row for each field."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

_NAMES: Final = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "null": "null",
    "object": "object",
    "array": "list",
}
_BOUNDS: Final = (
    ("minLength", "maxLength", "characters"),
    ("minItems", "maxItems", "items"),
    ("minimum", "maximum", ""),
)

Json = Mapping[str, Any]


class Row(Struct, frozen=True, kw_only=True):
    """One field, or one parameter."""

    name: str
    type: str
    required: bool
    bounds: str
    default: str  # as JSON; empty where there is none
    description: str


class Table(Struct, frozen=True):
    """The fields of one type."""

    name: str
    description: str
    rows: Sequence[Row]


def tables(schema: Json, components: Mapping[str, Json]) -> Sequence[Table]:
    """The tables of a schema and of all that it refers to, the outermost first."""
    found: dict[str, Table] = {}
    waiting = list(_references(schema))
    while waiting:
        name = waiting.pop(0)
        if name not in found:
            found[name] = _table(name, components[name])
            waiting += _references(components[name])
    return list(found.values())


def row(name: str, schema: Json, *, required: bool, description: str = "") -> Row:
    """One field of a schema."""
    default = schema.get("default")
    return Row(
        name=name,
        type=type_of(schema),
        required=required,
        bounds=", ".join(dict.fromkeys(_bounds(schema))),
        default="" if default in (None, "", [], {}) else json.dumps(default, ensure_ascii=False),
        description=description or schema.get("description", ""),
    )


def type_of(schema: Json) -> str:
    """What a value is, in words."""
    if "$ref" in schema:
        return _reference(schema)
    several = schema.get("anyOf", schema.get("oneOf"))
    if several is not None:
        return " or ".join(dict.fromkeys(type_of(one) for one in several))
    if "enum" in schema:
        return " or ".join(json.dumps(value, ensure_ascii=False) for value in schema["enum"])
    kinds = schema.get("type", "anything")
    return " or ".join(
        _kind(kind, schema) for kind in ([kinds] if isinstance(kinds, str) else kinds)
    )


def _kind(kind: str, schema: Json) -> str:
    if kind == "array":
        return f"list of {type_of(schema.get('items', {}))}"
    if kind == "object" and schema.get("additionalProperties"):
        return f"object of {type_of(schema['additionalProperties'])}"
    name = _NAMES.get(kind, kind)
    return f"{name} ({schema['format']})" if "format" in schema else name


def _table(name: str, schema: Json) -> Table:
    required = schema.get("required", ())
    rows = [
        row(field, found, required=field in required)
        for field, found in schema.get("properties", {}).items()
    ]
    rows.sort(key=lambda row: not row.required)
    return Table(name, schema.get("description", ""), rows)


def _bounds(schema: Json) -> Iterator[str]:
    for low, high, unit in _BOUNDS:
        least, most = schema.get(low), schema.get(high)
        if least is not None and most is not None:
            yield f"{least:,} to {most:,} {unit}".strip()
        elif least is not None:
            yield f"{least:,} {unit} or more".replace("  ", " ")
        elif most is not None:
            yield f"{most:,} {unit} at most".replace("  ", " ")
    if (least := schema.get("exclusiveMinimum")) is not None:
        yield f"over {least:,}"
    if pattern := schema.get("pattern"):
        yield f"matches `{pattern}`"
    for one in schema.get("anyOf", schema.get("oneOf", ())):
        yield from _bounds(one)
    if "items" in schema:
        yield from (f"each {bound}" for bound in _bounds(schema["items"]))


def _reference(schema: Json) -> str:
    return str(schema.get("$ref", "")).rpartition("/")[2]


def _references(schema: Any) -> Iterator[str]:  # noqa: ANN401 - any part of a schema
    """The names of what a schema refers to, wherever it does."""
    if isinstance(schema, Mapping):
        if name := _reference(schema):
            yield name
        for value in schema.values():
            yield from _references(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _references(value)

"""Requests that work when pasted: what declarations give as examples."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import NODEFAULT, Struct


class Example(Struct, frozen=True, kw_only=True):
    """What to send to an endpoint.

    Texts may name variables of `edge/documentation/variables.py`, as ``$ACCOUNT_ID``.
    """

    body: Struct | str | None = None  # a text goes as it is, anything else as JSON
    path: Mapping[str, str] = {}  # the variables that parameters stand for, if not of their names
    query: Mapping[str, str] = {}
    headers: Mapping[str, str] = {}
    after: str = ""  # the endpoint whose example has to be sent first
    unless: Mapping[int, str] = {}  # answers that may come instead, and when
    needs: Sequence[str] = ()  # variables to set first, though the request does not name them


def said(value: Any) -> Any:  # noqa: ANN401 - JSON
    """A value as JSON, less the fields that say no more than their default."""
    if isinstance(value, Struct):
        return {
            field.encode_name: said(getattr(value, field.name))
            for field in msgspec.structs.fields(value)
            if field.default is NODEFAULT or getattr(value, field.name) != field.default
        }
    if isinstance(value, list | tuple):
        return [said(item) for item in value]
    return msgspec.to_builtins(value)

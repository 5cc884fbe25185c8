"""Reading server-sent events."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
from msgspec import Struct


class Event(Struct, frozen=True):
    """One server-sent event; a plain message has no name."""

    name: str
    data: Any


async def events_of(response: httpx.Response) -> AsyncIterator[Event]:
    """A response's events, as they come."""
    name = ""
    async for line in response.aiter_lines():
        field, _, value = line.partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            yield Event(name, json.loads(value))
            name = ""

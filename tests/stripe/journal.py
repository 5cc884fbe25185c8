"""Events, as Stripe keeps them for thirty days, and whoever wants to hear of them."""

import json
from collections.abc import Callable, Sequence

from msgspec import Struct

from tests.stripe.routes import Json

API_VERSION = "2026-10-28.endive"  # the one that the `stripe` package speaks


class Event(Struct, frozen=True):
    """One, frozen in the moment in which it came to be."""

    id: str
    type: str
    created: int
    body: bytes  # what is signed and sent

    def json(self) -> Json:
        parsed: Json = json.loads(self.body)
        return parsed


class Journal:
    """All events, oldest first."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.listeners: list[Callable[[Event], None]] = []
        self.request: tuple[str | None, str | None] = (None, None)  # its id, and its key

    def add(self, id_: str, type_: str, created: int, data: Json) -> Json:
        request, key = self.request
        made = {
            "id": id_,
            "object": "event",
            "api_version": API_VERSION,
            "created": created,
            "data": data,
            "livemode": False,
            "pending_webhooks": 1,
            "request": {"id": request, "idempotency_key": key},
            "type": type_,
        }
        event = Event(id_, type_, created, json.dumps(made, separators=(",", ":")).encode())
        self.events.append(event)
        for listener in self.listeners:
            listener(event)
        return made

    def of_types(self, types: Sequence[str]) -> list[Event]:
        """Newest first; those of all types where none is named. ``customer.*`` names many."""
        return [
            event
            for event in reversed(self.events)
            if not types or any(matches(event.type, wanted) for wanted in types)
        ]


def matches(type_: str, wanted: str) -> bool:
    return wanted in ("*", type_) or (wanted.endswith(".*") and type_.startswith(wanted[:-1]))

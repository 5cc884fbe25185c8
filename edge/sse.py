"""Server-sent events.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from collections.abc import Sequence
from typing import Final

MEDIA_TYPE: Final = "text/event-stream"

#: Of a response that is made of them: nobody on the way may keep it back.
HEADERS: Final[Sequence[tuple[bytes, bytes]]] = (
    (b"content-type", MEDIA_TYPE.encode()),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # nginx
)
COMMENT: Final = b":\n\n"  # says nothing, to proxies that hang up on silence


def event(data: bytes, name: str = "") -> bytes:
    """One event.

    Args:
        data: JSON on one line.
        name: Of the event; without one it is a plain message.
    """
    return b"event: %s\ndata: %s\n\n" % (name.encode(), data) if name else b"data: %s\n\n" % data

"""Pages of other origins that may ask: CORS, for all routes alike.

Keys travel in `Authorization`, which a page has to hold to send: so there are no cookies to
protect, and credentials are never allowed.

Source: https://fetch.spec.whatwg.org/#http-cors-protocol
"""

import re
from collections.abc import Sequence
from typing import Final

from litestar.types import Scope

from edge.asgi import Headers, header
from edge.settings import BadSetting

ALL: Final = "*"
ENDPOINT: Final = "preflight"  # what the metrics call a browser's question
KEEP_S: Final = 7_200  # as long as browsers will remember an answer
#: What a page's script may read, beside what it always may.
EXPOSED: Final = (
    b"x-request-id, server-timing, retry-after, retry-after-ms, x-should-retry, ratelimit, "
    b"ratelimit-policy, idempotent-replayed, location, allow"
)

_ORIGIN: Final = re.compile(r"^https?://[a-z0-9.-]+(:\d+)?$|^https?://\[[0-9a-f:]+\](:\d+)?$")
_VARY: Final = (b"vary", b"origin")


class Cors:
    """What pages are told.

    Args:
        origins: Of those that may ask, comma-separated, as ``https://app.example``; or ``*``.

    Raises:
        BadSetting: one of them is no origin.
    """

    def __init__(self, origins: str) -> None:
        listed = [part.strip().lower() for part in origins.split(",") if part.strip()]
        for origin in listed:
            if origin != ALL and not _ORIGIN.match(origin):
                message = f"{origin!r} is no origin; write https://app.example, without a path"
                raise BadSetting(f"TOLLGATE_CORS_ORIGINS: {message}")
        self._all = ALL in listed
        self._listed = frozenset(origin.encode() for origin in listed)

    def headers(self, scope: Scope) -> Sequence[tuple[bytes, bytes]]:
        """What goes with an answer."""
        if not self._listed:
            return ()
        allowed = self._allowed(scope)
        if allowed is None:
            return () if self._all else (_VARY,)
        found = [(b"access-control-expose-headers", EXPOSED), *allowed]
        return found if self._all else [*found, _VARY]

    def preflight(self, scope: Scope) -> Headers | None:
        """The answer's headers where a browser asks before it sends; None where it does not."""
        if scope.get("method") != "OPTIONS" or not self._listed:
            return None
        if header(scope, b"access-control-request-method") is None:
            return None
        vary = (b"vary", b"origin, access-control-request-headers")
        allowed = self._allowed(scope)
        if allowed is None:
            return [vary]
        asked = header(scope, b"access-control-request-headers") or ""
        return [
            *allowed,
            (b"access-control-allow-methods", b"GET, HEAD, POST, PUT, PATCH, DELETE"),
            # whichever it will send: `*` would leave Authorization out
            (b"access-control-allow-headers", asked.encode("latin-1")),
            (b"access-control-max-age", b"%d" % KEEP_S),
            vary,
        ]

    def _allowed(self, scope: Scope) -> Headers | None:
        origin = header(scope, b"origin")
        if origin is None:
            return None
        if self._all:
            return [(b"access-control-allow-origin", b"*")]
        encoded = origin.encode("latin-1")
        if encoded.lower() not in self._listed:
            return None
        return [(b"access-control-allow-origin", encoded)]

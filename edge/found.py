"""Where callers find us."""

import re
from typing import Final

from litestar.types import Scope

from edge.asgi import header
from edge.settings import Settings

_HOST: Final = re.compile(r"(?:[\w.-]+|\[[0-9a-fA-F:.]+\])(?::(\d{1,5}))?", re.ASCII)
PORTS: Final = 2**16


def base_url(scope: Scope, settings: Settings) -> str:
    """What all our paths stand behind, for this caller; without a slash at its end.

    That is `public_url`, where it is set: it must be where a proxy speaks TLS. Else it is
    where the caller says that it has found us, if that can be an address: nobody else gets
    to see that.
    """
    if settings.public_url:
        return settings.public_url.rstrip("/")
    host = header(scope, b"host") or ""
    said = _HOST.fullmatch(host)
    if not said or int(said[1] or 0) >= PORTS:
        server = scope["server"] or ("localhost", None)
        host = server[0] if server[1] is None else f"{server[0]}:{server[1]}"
    return f"{scope['scheme']}://{host}{settings.root_path.rstrip('/')}"

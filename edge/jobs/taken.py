"""What the caller of an asynchronous request is told: where its result will be."""

import re
from collections.abc import Sequence
from typing import Final
from uuid import UUID

import msgspec
from litestar.types import Scope
from msgspec import Struct

from edge.asgi import Answer, header
from edge.settings import Settings

_HOST: Final = re.compile(r"^[\w.-]+(:\d{1,5})?$|^\[[0-9a-fA-F:.]+\](:\d{1,5})?$", re.ASCII)


class Taken(Struct, frozen=True):
    """A job waits, durably."""

    url: str  # GET it for the result: 202 and an empty body until there is one


def taken(url: str, headers: Sequence[tuple[bytes, bytes]]) -> Answer:
    """The answer to an asynchronous request."""
    location = (b"location", url.encode())
    return Answer(msgspec.json.encode(Taken(url)), [location, *headers], status=202)


def told_url(settings: Settings, job_id: UUID) -> str:
    """Where a job's result will be, as a webhook tells others than its caller.

    Without `public_url` that is a path alone: we would sign whatever host a caller writes, and
    whoever trusts our signature would go there with the account's key.
    """
    base = settings.public_url or settings.root_path
    return f"{base.rstrip('/')}/v1/jobs/{job_id}"


def result_url(scope: Scope, settings: Settings, job_id: UUID) -> str:
    """Where a job's result will be, as its caller can reach it.

    That is below `public_url`, where it is set: it must be where a proxy speaks TLS. Else it
    is where the caller says that it has found us: nobody else gets to see that.
    """
    base = settings.public_url.rstrip("/")
    if not base:
        host = header(scope, b"host") or ""
        if not _HOST.match(host):
            server = scope["server"] or ("localhost", None)
            host = server[0] if server[1] is None else f"{server[0]}:{server[1]}"
        base = f"{scope['scheme']}://{host}{settings.root_path.rstrip('/')}"
    return f"{base}/v1/jobs/{job_id}"

"""What the caller of an asynchronous request is told: where its result will be."""

from collections.abc import Sequence
from uuid import UUID

import msgspec
from litestar.types import Scope
from msgspec import Struct

from edge.asgi import Answer
from edge.found import base_url
from edge.settings import Settings


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
    """Where a job's result will be, as its caller can reach it."""
    return f"{base_url(scope, settings)}/v1/jobs/{job_id}"

"""What the pages are made of besides their text: style sheets, scripts, an icon.

There are few, so they are kept in memory. A file on disk costs thirty turns of a thread for
each request, and every reader, however slow, holds a megabyte of it.
"""

import hashlib
import mimetypes
from collections.abc import AsyncIterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from litestar import HttpMethod, Request, Response
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath
from litestar.response import Stream
from litestar.status_codes import HTTP_304_NOT_MODIFIED
from msgspec import Struct

from edge.errors import NotFound

SLICE_BYTES: Final = 2**16  # that one reader holds
OURS: Final = Path(__file__).parent / "assets"
SWAGGER_UI: Final = ("favicon-32x32.png", "swagger-ui.css", "swagger-ui-bundle.js")


class File(Struct, frozen=True):
    """One of them, as it is sent."""

    body: bytes
    media_type: str
    tag: str  # of these bytes: who has them is not sent them again


def files_route() -> HTTPRouteHandler:
    """The route of all of them."""
    files = _read()

    async def get_file(name: FromPath[str], request: Request[Any, Any, Any]) -> Response[Any]:
        file = files.get(name)
        if file is None:
            raise NotFound("there is no such file; see /docs for the pages")
        headers = {"etag": file.tag, "cache-control": "no-cache"}  # ask whether it is still this
        if file.tag in request.headers.get("if-none-match", ""):
            return Response(None, status_code=HTTP_304_NOT_MODIFIED, headers=headers)
        headers["content-length"] = str(len(file.body))
        return Stream(_slices(file.body), media_type=file.media_type, headers=headers)

    return HTTPRouteHandler(
        "/docs/assets/{name:str}",
        http_method=[HttpMethod.GET, HttpMethod.HEAD],
        name="assets",
        include_in_schema=False,
    )(get_file)


def _read() -> Mapping[str, File]:
    # the package need not be importable: it is one of Django's
    found = find_spec("drf_spectacular_sidecar")
    assert found is not None, "artifacts.txt is not installed; run `make setup`"
    assert found.origin is not None
    theirs = Path(found.origin).parent / "static/drf_spectacular_sidecar/swagger-ui-dist"
    paths = [*OURS.iterdir(), *(theirs / name for name in SWAGGER_UI)]
    return {path.name: _file(path) for path in paths}


def _file(path: Path) -> File:
    body = path.read_bytes()
    media_type, _ = mimetypes.guess_type(path)
    assert media_type is not None, path
    return File(body, media_type, f'"{hashlib.sha256(body).hexdigest()[:16]}"')


async def _slices(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), SLICE_BYTES):
        yield body[start : start + SLICE_BYTES]

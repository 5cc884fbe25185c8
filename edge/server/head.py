"""What a request's head may be: how large, and so plain that no two servers read it differently.

llhttp, uvicorn's parser, refuses most of what is ambiguous itself: two lengths, a length beside
chunks, folded lines, spaces before a colon. It bounds nothing.
"""

from collections.abc import Sequence
from typing import Final

from edge.errors import CompressedBody, EdgeError, HeadTooLarge, MalformedRequest, UriTooLong

HEAD_BYTES: Final = 64 * 2**10
HEADERS: Final = 100
URI_BYTES: Final = 16 * 2**10
VERSIONS: Final = frozenset({"1.0", "1.1"})


def check(version: str, uri: bytes, headers: Sequence[tuple[bytes, bytes]]) -> None:
    """See that a head can be taken.

    Args:
        version: Of HTTP.
        uri: As in the request line.
        headers: Their names in lower case.

    Raises:
        UriTooLong, HeadTooLarge, MalformedRequest, CompressedBody: it cannot.
    """
    if len(uri) > URI_BYTES:
        raise UriTooLong(f"send at most {URI_BYTES:,} bytes of URL; a body takes more")
    if len(headers) > HEADERS:
        raise HeadTooLarge(f"send at most {HEADERS} headers")
    if version not in VERSIONS:
        raise MalformedRequest(f"HTTP/{version} is not spoken here; send HTTP/1.1")
    names = [name for name, _ in headers]
    hosts = names.count(b"host")
    if hosts > 1 or (hosts == 0 and version == "1.1"):
        raise MalformedRequest("send one Host header")
    if b"transfer-encoding" in names:
        if version == "1.0":  # it has no chunks: what stands before us may read another body
            raise MalformedRequest("send Content-Length, or HTTP/1.1")
        codings = [value.lower() for name, value in headers if name == b"transfer-encoding"]
        if codings != [b"chunked"]:
            raise CompressedBody("the only Transfer-Encoding that is taken is `chunked`")


def check_size(uri: bytes, headers: Sequence[tuple[bytes, bytes]]) -> None:
    """See that a head is not too large; apart, since one read seldom brings as much.

    Raises:
        HeadTooLarge: it is.
    """
    if len(uri) + sum(len(name) + len(value) + 4 for name, value in headers) > HEAD_BYTES:
        raise too_large()


def too_large() -> EdgeError:
    """The refusal of a head, or of what stands around a body."""
    return HeadTooLarge(f"send at most {HEAD_BYTES:,} bytes of headers")


def length_before_upgrade(headers: Sequence[tuple[bytes, bytes]]) -> int:
    """Bytes of a body whose request also asks for another protocol, as Java's client does.

    Raises:
        MalformedRequest: it comes in chunks, which nobody would take apart.
    """
    for name, value in headers:
        if name == b"transfer-encoding":
            raise MalformedRequest("send Content-Length, or do without Upgrade")
        if name == b"content-length":
            return int(value)
    return 0

"""Malformed requests: valid ones of every route, broken in one way or several, as bytes.

A seed makes the same requests again.
"""

import json
import random
from collections.abc import Callable, Mapping, Sequence
from enum import Enum, auto
from typing import Any, Final

from msgspec import Struct, field

BIG: Final = 100_000
METHODS: Final = [
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "PATCH",
    "DELETE",
    "OPTIONS",
    "TRACE",
    "CONNECT",
    "QUERY",
    "get",
    "PRI",
    "PURGE",
    "\x00",
    "é",
]
VERSIONS: Final = (
    "HTTP/1.1",
    "HTTP/1.0",
    "HTTP/0.9",
    "HTTP/2.0",
    "HTTP/9.9",
    "http/1.1",
    "HTP",
    "",
    "\0",
)
PATHS: Final = (
    "/",
    "//",
    "*",
    "/..",
    "/v1/../v1/models",
    "/v1/%2e%2e/%2e%2e/etc/passwd",
    "/v1/%00/echo",
    "/v1/%ff%fe/echo",
    "/v1/%/echo",
    "/v1/%zz/echo",
    "/v1/echo/echo?" + "a=b&" * 2_000,
    "/v1/echo/echo#fragment",
    "/v1/fr/gpu/echo/echo",
    "/v1/gpu/echo/echo",
    "/v1/" + "a/" * 2_000,
    "/v1/" + "m" * 8_000 + "/echo",
    "/docs/assets/../../../../etc/passwd",
    "/docs/assets/%2e%2e/%2e%2e/secrets.json",
    "/docs/assets/\0",
    "/gate",
    "/gate/..",
    "http://elsewhere.example/v1/models",
    "elsewhere.example:443",
    "/v1/usage?limit=" + "9" * 5_000,
    "/v1/usage?from=%00&to=%ff",
    "/v1/usage?page=%7B%22a%22%3A1%7D",
    "/v1/usage?status=" + "1&status=" * 500,
    "/v1/usage/requests/" + "f" * 33,
    "/v1/usage/requests/urn:uuid:00000000-0000-0000-0000-000000000000",
    "/v1/admin/accounts/00000000-0000-0000-0000-000000000000/keys",
    "/v1/admin/usage?account=nobody",
    "/v1/admin/usage?from=0001-01-01T00:00:00Z&to=9999-12-31T23:59:59Z",
    "/\xff\xfe",
    "/ü",
    " ",
)
TEXTS: Final = (
    "",
    " ",
    "\0",
    "\ufeff",
    "\ud800",
    "\udfff\ud800",
    "🙂" * 50,
    "a" * BIG,
    "%s%n%x",
    "' OR 1=1 --",
    "../../etc/passwd",
    "null",
    "1e999",
    "2026-13-45T99:99:99Z",
    "00000000-0000-0000-0000-00000000000g",
    "\r\nX-Injected: yes",
)
# JSON as it is written: not all of it is JSON
LITERALS: Final = (
    "null", "true", "0", "-0", "-1", "1e999", "-1e999", "1e-999", "9" * 5_000, "0." + "1" * 5_000,
    "18446744073709551616", "-9223372036854775809", "NaN", "Infinity", "01", "+1", "0x10", ".5",
    '""', '"\\u0000"', '"\\ud83d"', '"\\ude00\\ud83d"', '"\\x"', '"\\u12"', '"\t"', '"', "'a'",
    "[]", "{}", "[" * 2_000, '{"a":' * 2_000, "[" * BIG, "[" * 500 + "]" * 500, "[1,]", '{"a":1,}',
    '{"a":1,"a":2}', "{1:2}", "undefined", "//", "/* */ 1", "\ufeff{}", "",
    '["a"]', '{"a":{"a":{"a":null}}}', "[null]", '"' + "a" * BIG + '"',
)  # fmt: skip
HEADERS: Final = (
    b"Host",
    b"Host: ",
    b": nameless",
    b" folded: yes",
    b"X: a\r\n b",
    b"X\0Y: z",
    b"X Y: z",
    b"X: \0",
    b"X: \xff\xfe",
    b"\xff: x",
    b"X: " + b"a" * BIG,
    b"X" * 10_000 + b": a",
    b"\r\n".join([b"X: a"] * 500),
    b"Expect: 100-continue",
    b"Expect: nonsense",
    b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: AA==",
    b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__",
    b"Connection: close",
    b"Connection: \xff",
    b"Content-Type: text/plain",
    b"Content-Type: application/x-www-form-urlencoded",
    b"Content-Type: multipart/form-data",
    b"Content-Type: multipart/form-data; boundary=x",
    b"Content-Type: application/json; charset=nonsense",
    b"Content-Type: application/json; charset=utf-16",
    b"Content-Type: ;;;=",
    b"Content-Type: \xff/\xff",
    b"Content-Encoding: gzip",
    b"Content-Encoding: identity, br",
    b"Accept: text/csv",
    b"Accept: " + b"a/b;q=0.1," * 1_000,
    b"Accept: ;;;q=x",
    b"Accept: */*;q=nan",
    b"Cookie: \xff=;=;;a",
    b"Range: bytes=-9999999999999999999-",
    b"Range: bytes=5-1,,",
    b"If-None-Match: \xff",
    b"If-Modified-Since: yesterday",
    b"Idempotency-Key: ",
    b"Idempotency-Key: \xff\xfe",
    b"Idempotency-Key: " + b"k" * 5_000,
    b"Idempotency-Key: a.*.>",
    b"traceparent: 00-zz",
    b"traceparent: \xff",
    b"Stripe-Signature: t=,v1=",
    b"Stripe-Signature: t=99999999999999999999999,v1=" + b"0" * 64,
    b"Stripe-Signature: \xff",
    b"Prefer: respond-async",
    b"Origin: null",
    b"Origin: \xff",
    b"X-Forwarded-Uri: /../\xff",
    b"X-Forwarded-For: nobody",
    b"Authorization: ",
    b"Authorization: Bearer",
    b"Authorization: Bearer \xff\xfe",
    b"Authorization: Bearer tg_\0",
    b"Authorization: Bearer " + b"t" * 50_000,
    b"Authorization: Basic !!!",
    b"Authorization: Basic /w==",
    b"Authorization: Digest a=b",
    b"Authorization: Token tg_" + b"A" * 40,
)  # fmt: skip
LENGTHS: Final = (
    b"Content-Length: -1",
    b"Content-Length: +5",
    b"Content-Length: 0x10",
    b"Content-Length: ",
    b"Content-Length: 5, 5",
    b"Content-Length: 5\r\nContent-Length: 6",
    b"Content-Length: 0",
    b"Content-Length: 1",
    b"Content-Length: 10000000",
    b"Content-Length: 99999999999",
    b"Content-Length: 18446744073709551616",
    b"Content-Length: " + b"9" * 5_000,
    b"Content-Length: 5\r\nTransfer-Encoding: chunked",
    b"Transfer-Encoding: gzip, chunked",
    b"Transfer-Encoding: chunked, identity",
    b"Transfer-Encoding: nonsense",
    b"Transfer-Encoding: \xff",
)
CHUNKS: Final = (
    b"zz\r\n{}\r\n0\r\n\r\n",
    b"-1\r\n{}\r\n0\r\n\r\n",
    b"ffffffffffffffffff\r\n{}\r\n",
    b"7fffffff\r\n{}",
    b"2\r\n{}0\r\n\r\n",
    b"2{}\r\n",
    b"\r\n\r\n\r\n",
    b"2;" + b"x" * BIG + b"\r\n{}\r\n0\r\n\r\n",
    b"2\r\n{}\r\n0\r\nTrailer: x\r\n" + b"T: x\r\n" * 500 + b"\r\n",
    b"2\n{}\n0\n\n",
    b"1\r\n{\r\n" * 3_000,
    b"0\r\n\r\n",
)


class Ending(Enum):
    """What the caller does once it has sent its bytes."""

    READ = auto()  # as callers do
    CLOSE = auto()  # and reads nothing
    HALF = auto()  # closes its half, and listens on
    RESET = auto()  # aborts
    SILENT = auto()  # stays, and says nothing more


class Malformed(Struct, frozen=True):
    """The bytes of one connection, in the pieces that they are sent in."""

    pieces: Sequence[bytes]
    ending: Ending = Ending.READ


class Target(Struct, frozen=True):
    """A route, what it takes, and the credentials that open it."""

    method: str
    path: str
    body: Any
    authorization: str


class _Request(Struct):
    """One that is still whole."""

    method: str
    path: str
    version: str = "HTTP/1.1"
    headers: list[bytes] = field(default_factory=list)
    length: bytes | None = None  # None: the true one
    body: bytes = b""
    good: Any = None  # the body, as it was meant

    def encode(self) -> bytes:
        line = f"{self.method} {self.path} {self.version}".encode("utf-8", "surrogatepass")
        length = b"Content-Length: %d" % len(self.body) if self.length is None else self.length
        return b"\r\n".join([line, *self.headers, length, b"", self.body])


class Generator:
    """An endless source of malformed requests.

    Args:
        targets: The routes, and what they take.
        seed: The same one makes the same requests.
    """

    def __init__(self, targets: Sequence[Target], seed: int) -> None:
        self._targets = targets
        self._random = random.Random(seed)
        self._ways: Sequence[Callable[[_Request], None]] = (
            self._break_line,
            self._break_headers,
            self._break_length,
            self._break_chunks,
            self._break_body,
            self._break_body,
        )

    def next(self) -> Malformed:
        """One more."""
        chance = self._random.random()
        if chance < 0.02:
            raw = self._random.randbytes(self._random.choice((0, 1, 20, 5_000)))
        elif chance < 0.1:  # sent ahead of the answers
            raw = b"".join(self._one() for _ in range(self._random.randint(2, 8)))
        else:
            raw = self._one()
        if self._random.random() < 0.2:
            raw = self._flip(raw)
        if self._random.random() < 0.1:
            raw = raw[: self._random.randrange(len(raw) + 1)]
        return Malformed(self._cut(raw), self._ending())

    def _one(self) -> bytes:
        target = self._random.choice(self._targets)
        request = _Request(
            target.method,
            target.path,
            headers=[
                b"Host: x",
                b"Content-Type: application/json",
                b"Authorization: " + target.authorization.encode(),
            ],
            body=b"" if target.body is None else json.dumps(target.body).encode(),
            good=target.body,
        )
        for way in self._random.sample(self._ways, self._random.choice((1, 1, 1, 2, 3))):
            way(request)
        return request.encode()

    def _break_line(self, request: _Request) -> None:
        match self._random.randrange(3):
            case 0:
                request.method = self._random.choice(METHODS)
            case 1:
                request.version = self._random.choice(VERSIONS)
            case _:
                request.path = self._random.choice(PATHS)

    def _break_headers(self, request: _Request) -> None:
        if self._random.random() < 0.1:
            request.headers.clear()
        for _ in range(self._random.choice((1, 1, 2, 5))):
            at = self._random.randrange(len(request.headers) + 1)
            request.headers.insert(at, self._random.choice(HEADERS))

    def _break_length(self, request: _Request) -> None:
        request.length = self._random.choice(LENGTHS)

    def _break_chunks(self, request: _Request) -> None:
        request.length = b"Transfer-Encoding: chunked"
        request.body = self._random.choice(CHUNKS)

    def _break_body(self, request: _Request) -> None:
        """Another value somewhere in the body, or something else in its place."""
        good = request.good
        if isinstance(good, dict) and good and self._random.random() < 0.7:
            request.body = self._in_place(good)
        elif self._random.random() < 0.8:
            request.body = self._random.choice(LITERALS).encode("utf-8", "surrogatepass")
        else:
            codec = self._random.choice(("utf-16", "utf-32", "utf-7", "cp037"))
            request.body = request.body.decode(errors="replace").encode(codec, "replace")

    def _in_place(self, good: Mapping[str, Any]) -> bytes:
        name = self._random.choice([*good, "unknown", "\0", "__class__"])
        fields = {key: json.dumps(value) for key, value in good.items()}
        if self._random.random() < 0.5:
            fields[name] = json.dumps(self._random.choice(TEXTS))
        else:
            fields[name] = self._random.choice(LITERALS)
        text = ",".join(f"{json.dumps(key)}:{value}" for key, value in fields.items())
        return f"{{{text}}}".encode("utf-8", "surrogatepass")

    def _flip(self, raw: bytes) -> bytes:
        """Some bytes changed, left out, or there twice."""
        broken = bytearray(raw)
        for _ in range(self._random.choice((1, 1, 3, 20))):
            if not broken:
                break
            at = self._random.randrange(min(len(broken), 2_000))
            match self._random.randrange(3):
                case 0:
                    broken[at] = self._random.randrange(256)
                case 1:
                    del broken[at : at + self._random.randint(1, 4)]
                case _:
                    broken[at:at] = broken[at : at + self._random.randint(1, 40)]
        return bytes(broken)

    def _cut(self, raw: bytes) -> Sequence[bytes]:
        """In one piece, mostly."""
        if self._random.random() < 0.85 or not raw:
            return [raw]
        cuts = sorted(self._random.randrange(len(raw)) for _ in range(self._random.randint(1, 4)))
        return [raw[start:end] for start, end in zip([0, *cuts], [*cuts, len(raw)], strict=True)]

    def _ending(self) -> Ending:
        return self._random.choices(list(Ending), (82, 5, 6, 6, 1))[0]

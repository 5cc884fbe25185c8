"""A proxy that notes what passes, and for whom: examples themselves tell too little.

Whoever is to be told apart gets an address of its own: ``http://127.0.0.1:PORT/~LABEL``.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import urlsplit

from msgspec import Struct

from tests.waiting import PATIENCE_S


class Passed(Struct, frozen=True):
    """A request and its answer."""

    label: str
    method: str
    path: str
    sent: bytes
    status: int
    headers: dict[str, str]
    body: bytes


class Recorder:
    def __init__(self, port: int) -> None:
        self.passed: list[Passed] = []
        self._port = port

    def url(self, label: str) -> str:
        return f"http://127.0.0.1:{self._port}/~{label}"

    def of(self, label: str) -> list[Passed]:
        return [one for one in self.passed if one.label == label]


@contextmanager
def recording(url: str) -> Iterator[Recorder]:
    """Listen until the block ends, and pass all on to `url`."""

    class Handler(BaseHTTPRequestHandler):
        def _pass(self) -> None:
            label, _, path = self.path.removeprefix("/~").partition("/")
            sent = self.rfile.read(int(self.headers.get("content-length", 0)))
            connection = HTTPConnection(urlsplit(url).netloc, timeout=PATIENCE_S)
            connection.request(self.command, f"/{path}", sent, dict(self.headers))
            answer = connection.getresponse()
            body = answer.read()
            connection.close()
            headers = {name.lower(): value for name, value in answer.getheaders()}
            recorder.passed.append(
                Passed(label, self.command, f"/{path}", sent, answer.status, headers, body)
            )
            self.send_response_only(answer.status)
            for name, value in headers.items():
                if name not in {"content-length", "transfer-encoding", "connection"}:
                    self.send_header(name, value)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _pass  # noqa: N815 - the base looks for these

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
            """Say nothing: what passed is kept."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        recorder = Recorder(server.server_port)
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield recorder
        finally:
            server.shutdown()
            thread.join()

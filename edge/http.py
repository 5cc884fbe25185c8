"""HTTP that is not HTTP still gets an answer in the one shape."""

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from edge import problem
from edge.errors import MalformedRequest
from events.ids import new_id


class Protocol(HttpToolsProtocol):
    """uvicorn's own, except for what it says to bytes that it cannot parse."""

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP, and hang up."""
        request_id = new_id()
        body = problem.body(MalformedRequest(f"{msg.rstrip('.')}"), request_id)
        head = (
            "HTTP/1.1 400 Bad Request\r\n"
            f"content-type: {problem.MEDIA_TYPE}\r\n"
            f"content-length: {len(body)}\r\n"
            f"x-request-id: {request_id}\r\n"
            "connection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()

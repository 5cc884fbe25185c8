"""uvicorn, set up for this application: as `deploy/serve.py` runs it, and tests do."""

from typing import Any, Final

import uvicorn

from edge.settings import Settings

#: On all answers, made once: browsers are not to guess types, nor tell others where they were.
HEADERS: Final = [
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
]
#: Where this edge itself is what callers reach by TLS; behind a proxy it is the proxy's to say.
STRICT: Final = ("strict-transport-security", "max-age=31536000")


def configure(
    application: Any,  # noqa: ANN401 - an ASGI application, or the name of what makes it
    settings: Settings,
    *,
    host: str = "127.0.0.1",
    port: int,
    processes: int = 1,
    loop: str = "uvloop",
) -> uvicorn.Config:
    """How the application is served.

    Args:
        application: Or the import path of a function that makes it, in each process.
        settings: The application's.
        host: Where it listens.
        port: Where it listens.
        processes: How many share that.
        loop: As uvicorn calls it.
    """
    return uvicorn.Config(
        application,
        factory=isinstance(application, str),
        host=host,
        port=port,
        workers=processes,
        loop=loop,
        http="edge.server.tls:open_connection",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        headers=[*HEADERS, STRICT] if settings.tls_certificate else HEADERS,
        proxy_headers=False,  # nobody asks for the caller's address
        timeout_graceful_shutdown=int(settings.drain_s),
    )

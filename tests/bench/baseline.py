"""What the road is measured against: a bare ASGI function with one NATS round trip.

Nothing is authenticated, decoded, checked or metered: this is what the two libraries
underneath cost, and the most that any edge on them could reach.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import nats
import uvicorn
from nats.aio.client import Client
from nats.aio.msg import Msg

from deploy.local.nats import Nats
from deploy.local.ports import free_port, is_free

SUBJECT = "baseline"
_client = Client()


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Read the body, ask over NATS, answer."""
    if scope["type"] == "lifespan":
        await receive()
        await _client.connect(os.environ["BASELINE_NATS_URL"])
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await _client.close()
        await send({"type": "lifespan.shutdown.complete"})
        return
    body = b""
    more = True
    while more:
        message = await receive()
        body += message["body"]
        more = message["more_body"]
    answer = (await _client.request(SUBJECT, body, timeout=10)).data
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(answer)),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer, "more_body": False})


async def respond() -> None:
    """The other end: gives back what it gets."""
    client = await nats.connect(os.environ["BASELINE_NATS_URL"])

    async def answer(message: Msg) -> None:
        await client.publish(message.reply, message.data)

    await client.subscribe(SUBJECT, cb=answer)
    await asyncio.Event().wait()


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[str]:
    """The baseline's three processes; yields its URL."""
    port = free_port()
    async with AsyncExitStack() as stack:
        server = stack.enter_context(Nats(folder, free_port()))
        environment = {**os.environ, "BASELINE_NATS_URL": server.url}
        for role in ("serve", "respond"):
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", __name__, role, str(port), env=environment
            )
            stack.push_async_callback(process.wait)
            stack.callback(process.terminate)
        while is_free(port):
            await asyncio.sleep(0.05)
        yield f"http://127.0.0.1:{port}"


def main(role: str, port: int) -> None:
    """Be one of the two processes."""
    if role == "serve":
        uvicorn.run(
            f"{__spec__.name}:application",
            port=port,
            loop="uvloop",
            http="httptools",
            log_level="warning",
            access_log=False,
        )
    else:
        import uvloop  # noqa: PLC0415 - the server brings its own

        uvloop.run(respond())


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))

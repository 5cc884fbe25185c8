"""What embeddings are measured against: the same model behind other servers.

`fastapi` runs the model in its handler, one text at a time, as its users begin; `litserve`
batches, with its own queue and process. Neither knows accounts, limits or meters.
"""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import litserve  # type: ignore[import-untyped]  # it has no types
import uvicorn
from fastapi import FastAPI
from msgspec import Struct, to_builtins
from pydantic import BaseModel

from deploy.local.ports import free_port
from events.models import read_models
from events.tasks.embeddings import EmbeddingsInput
from inference.models import load

MODEL: Final = "all-MiniLM-L6-v2"
MODELS_FILE: Final = Path(__file__).parents[2] / "deploy" / "models.toml"
PATH: Final = "/embeddings"
BATCH: Final = 32
BATCH_S: Final = 0.01  # LitServe's wait for a batch to fill
READY_S: Final = 120.0


class Body(BaseModel):
    """As the task takes it."""

    sentences: list[str]


class Embedder:
    """The worker's model, without the worker."""

    def __init__(self) -> None:
        model: Any = load(read_models(MODELS_FILE)[MODEL])
        self._model = model

    def embed(self, bodies: Sequence[Sequence[str]]) -> list[Any]:
        """Texts of several requests in, an answer for each out."""
        inputs = [EmbeddingsInput(sentences=list(body)) for body in bodies]
        answers = self._model.run("embeddings", self._model.tokenize("embeddings", inputs))
        return [to_builtins(answer.result) for answer in answers]


def serve_fastapi(port: int) -> None:
    """In the handler, which FastAPI calls in a thread of its pool."""
    app, embedder = FastAPI(), Embedder()

    @app.post(PATH)
    def embeddings(body: Body) -> Any:
        return embedder.embed([body.sentences])[0]

    uvicorn.run(app, port=port, loop="uvloop", http="httptools", log_level="warning")


class Api(litserve.LitAPI):  # type: ignore[misc]  # as above
    """With batching on; at the top of a module, for its process is spawned."""

    def setup(self, device: str) -> None:  # noqa: ARG002 - the CPU
        """Load."""
        self.embedder = Embedder()

    def decode_request(self, request: Body) -> list[str]:
        """The texts."""
        return request.sentences

    def predict(self, x: Any) -> Any:
        """A batch of requests."""
        return self.embedder.embed(x)

    def encode_response(self, output: Any) -> Any:
        """JSON."""
        return output


def serve_litserve(port: int) -> None:
    """Its own server before the API."""
    api = Api(max_batch_size=BATCH, batch_timeout=BATCH_S, api_path=PATH)
    litserve.LitServer(api, accelerator="cpu").run(
        host="127.0.0.1",
        port=port,
        num_api_servers=1,
        generate_client_file=False,
        log_level="warning",
    )


class Rival(Struct, frozen=True):
    """One of them, started; it stands still unless it is its turn."""

    url: str
    pid: int  # of the process that leads its group

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Let it run; not all that are idle sleep: LitServe polls its queues."""
        os.killpg(self.pid, signal.SIGCONT)
        try:
            yield
        finally:
            os.killpg(self.pid, signal.SIGSTOP)


@asynccontextmanager
async def running(name: str) -> AsyncIterator[Rival]:
    """One of them, until the block ends."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.bench.rivals",
        name,
        str(port),
        stdout=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    rival = Rival(f"http://127.0.0.1:{port}", process.pid)
    try:
        async with asyncio.timeout(READY_S), httpx.AsyncClient() as client:
            body = {"sentences": ["ready?"]}
            while True:
                try:
                    await client.post(rival.url + PATH, json=body, timeout=READY_S)
                    break
                except httpx.TransportError:
                    await asyncio.sleep(0.2)
        os.killpg(process.pid, signal.SIGSTOP)
        yield rival
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # its own: LitServe leaves processes behind
        await process.wait()


if __name__ == "__main__":
    {"fastapi": serve_fastapi, "litserve": serve_litserve}[sys.argv[1]](int(sys.argv[2]))

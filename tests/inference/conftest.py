"""The real models once, and a broker for each test."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from nats.aio.client import Client

from events import broker, streams
from events.models import ModelDeclared, read_models
from inference.models import load
from inference.models.model import Generator, Model
from tests.broker import PatientClient
from tests.waiting import PATIENCE_S

MODELS_FILE = Path(__file__).parents[2] / "deploy" / "models.toml"
SMALL = streams.Sizes(usage_bytes=streams.MIB, stripe_bytes=streams.MIB)


@pytest.fixture
async def client(nats_url: str) -> AsyncIterator[Client]:
    """What an edge has: a connection, and streams that somebody made."""
    connected = await broker.connect(nats_url, "test", client=PatientClient())
    async with asyncio.timeout(PATIENCE_S):
        await streams.prepare(connected, SMALL)
    yield connected
    await connected.close()


@pytest.fixture(scope="session")
def declared() -> dict[str, ModelDeclared]:
    """The models file that is shipped; on the CPU, where answers are expected to the last digit."""
    return {name: replace(one, device="cpu") for name, one in read_models(MODELS_FILE).items()}


@pytest.fixture(scope="session")
def spacy_model(declared: dict[str, ModelDeclared]) -> Model:
    pytest.importorskip("spacy")
    model = load(declared["en_core_web_sm"])
    assert not isinstance(model, Generator)
    return model


@pytest.fixture(scope="session")
def language_model(declared: dict[str, ModelDeclared]) -> Model:
    pytest.importorskip("py3langid")
    model = load(declared["py3langid"])
    assert not isinstance(model, Generator)
    return model


@pytest.fixture(scope="session")
def batch_models(
    spacy_model: Model, embeddings_model: Model, language_model: Model
) -> dict[str, Model]:
    """Those that answer in batches, by name."""
    return {
        "en_core_web_sm": spacy_model,
        "all-MiniLM-L6-v2": embeddings_model,
        "py3langid": language_model,
    }


@pytest.fixture(scope="session")
def embeddings_model(declared: dict[str, ModelDeclared]) -> Model:
    pytest.importorskip("torch")
    model = load(declared["all-MiniLM-L6-v2"])
    assert not isinstance(model, Generator)
    return model


@pytest.fixture(scope="session")
def smol(declared: dict[str, ModelDeclared]) -> Generator:
    pytest.importorskip("torch")
    model = load(declared["SmolLM2-135M-Instruct"])
    assert isinstance(model, Generator)
    return model


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("torch")
    from tests.inference import tiny  # noqa: PLC0415 - it needs torch

    folder = tmp_path_factory.mktemp("tiny")
    tiny.make(folder)
    return folder


@pytest.fixture(scope="session")
def tiny(tiny_folder: Path) -> Generator:
    """A language model of noise, with four slots."""
    from tests.inference import tiny  # noqa: PLC0415 - likewise

    model = load(tiny.declare(tiny_folder))
    assert isinstance(model, Generator)
    return model

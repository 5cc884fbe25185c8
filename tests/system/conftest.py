from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from tests.system.system import System, running
from tests.system.town import Town, a_town


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def system(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[System]:
    """One running system for all tests that leave it whole."""
    async with running(tmp_path_factory.mktemp("system") / "home") as started:
        yield started


@pytest.fixture
async def client(system: System) -> AsyncIterator[httpx.AsyncClient]:
    async with system.client() as started:
        yield started


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def town(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Town]:
    """A running system with a Stripe behind it, for tests that make tenants of their own."""
    async with a_town(tmp_path_factory.mktemp("town") / "home") as started:
        yield started

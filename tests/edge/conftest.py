from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from nats.aio.client import Client

from events import streams
from ledger.db import Connection, create_pool
from tests.edge.admissions import Edges
from tests.edge.running import Edge, running


@pytest.fixture
async def edge(
    nats: Client, nats_url: str, database_url: str, ledger: Connection
) -> AsyncIterator[Edge]:
    async with running(nats, nats_url, database_url, ledger) as started:
        yield started


@pytest.fixture
async def hasty_edge(
    nats: Client, nats_url: str, database_url: str, ledger: Connection
) -> AsyncIterator[Edge]:
    """One that soon gives up to look for a worker, and to wait for one with room."""
    patience = {"retry_s": 0.3, "max_wait_s": 0.3}
    async with running(nats, nats_url, database_url, ledger, **patience) as started:
        yield started


@pytest.fixture
async def edges(
    nats: Client, nats_url: str, database_url: str, tmp_path: Path
) -> AsyncIterator[Edges]:
    await streams.prepare(nats, streams.Sizes())
    async with create_pool(database_url) as pool, AsyncExitStack() as stack:
        yield Edges(nats_url, pool, tmp_path / "plans.toml", stack)

from collections.abc import AsyncIterator

import pytest
from nats.aio.client import Client

from ledger.db import Connection
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
    """One whose deadlines and retries end soon."""
    timeouts = {"deadline_s": 2.0, "retry_s": 0.3}
    async with running(nats, nats_url, database_url, ledger, **timeouts) as started:
        yield started

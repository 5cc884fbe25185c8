import pytest
from nats.aio.client import Client

from events import streams
from ledger.db import Connection
from tests.consumers.pipeline import SMALL, Pipeline


@pytest.fixture
async def pipeline(nats: Client, ledger: Connection, nats_url: str, database_url: str) -> Pipeline:
    await streams.prepare(nats, SMALL)
    jetstream = nats.jetstream()
    await jetstream.add_consumer(streams.USAGE, streams.usage_fold())
    await jetstream.add_consumer(streams.STRIPE, streams.stripe_journal())
    return Pipeline(nats, ledger, nats_url, database_url)

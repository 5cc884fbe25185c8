"""`tollgate migrate`."""

import asyncio
import os
from typing import Annotated

from msgspec import Meta, Struct

from deploy.environment import read_settings
from events import broker, streams
from events.streams import MIB, Sizes
from ledger.ages import DEFAULT_DAYS, STREAM_DAYS, Days, Retention
from ledger.migrate import migrate


class MigrateSettings(Struct, frozen=True, kw_only=True):
    """What is migrated, and how large the buffers may be."""

    nats_url: str
    database_url: str
    usage_stream_mib: int = 2_048
    usage_stream_days: Annotated[float, Meta(gt=0, le=STREAM_DAYS)] = 7.0
    usage_retention_days: Days = DEFAULT_DAYS
    stripe_stream_mib: int = 512
    connect_timeout_s: float = 30.0


async def run_migrations() -> None:
    """Migrate the database, then the streams, and say what was done."""
    settings = read_settings(MigrateSettings, os.environ)
    applied = await asyncio.to_thread(
        migrate, settings.database_url, Retention(settings.usage_retention_days)
    )
    print("database:", ", ".join(applied) or "up to date")
    sizes = Sizes(
        usage_bytes=settings.usage_stream_mib * MIB,
        usage_days=settings.usage_stream_days,
        stripe_bytes=settings.stripe_stream_mib * MIB,
    )
    async with asyncio.timeout(settings.connect_timeout_s):
        client = await broker.connect(settings.nats_url, "tollgate-migrate")
    try:
        made = await streams.prepare(client, sizes)
    finally:
        await client.close()
    print("streams:", ", ".join(str(info.config.name) for info in made))
    print(streams.disk_estimate(sizes))

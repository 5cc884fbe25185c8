"""`tollgate migrate`."""

import asyncio
import os

from msgspec import Struct

from deploy.commands.servers import connected
from deploy.environment import read_settings
from events import streams
from events.streams import MIB, Sizes
from ledger.migrate import migrate


class MigrateSettings(Struct, frozen=True, kw_only=True):
    """What is migrated, and how large the buffers may be."""

    nats_url: str
    database_url: str
    usage_stream_mib: int = 2_048
    usage_stream_days: float = 7.0
    stripe_stream_mib: int = 512
    connect_timeout_s: float = 30.0


async def run_migrations() -> None:
    """Migrate the database, then the streams, and say what was done."""
    settings = read_settings(MigrateSettings, os.environ)
    applied = await asyncio.to_thread(migrate, settings.database_url)
    print("database:", ", ".join(applied) or "up to date")
    sizes = Sizes(
        usage_bytes=settings.usage_stream_mib * MIB,
        usage_days=settings.usage_stream_days,
        stripe_bytes=settings.stripe_stream_mib * MIB,
    )
    within_s = settings.connect_timeout_s
    async with connected(settings.nats_url, "tollgate-migrate", timeout_s=within_s) as client:
        made = await streams.prepare(client, sizes)
    print("streams:", ", ".join(str(info.config.name) for info in made))
    print(streams.disk_estimate(sizes))

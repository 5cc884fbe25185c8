"""`tollgate migrate`."""

import asyncio
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Final

from msgspec import Meta, Struct

from deploy.commands.output import print_json, show
from deploy.commands.servers import ask_ledger, connected
from deploy.environment import environment_for_commands, read_settings
from events import streams
from events.streams import MIB, Sizes
from ledger.ages import DEFAULT_DAYS, STREAM_DAYS, Days, Retention
from ledger.checks import Check, check
from ledger.migrate import migrate, pending
from ledger.status import Facts, read_facts

UNWELL: Final = 1  # the exit status where data is in danger


class MigrateSettings(Struct, frozen=True, kw_only=True):
    """What is migrated, and how large the buffers may be."""

    nats_url: str
    database_url: str
    usage_stream_mib: int = 2_048
    usage_stream_days: Annotated[float, Meta(gt=0, le=STREAM_DAYS)] = 7.0
    usage_retention_days: Days = DEFAULT_DAYS
    stripe_stream_mib: int = 512
    jobs_stream_mib: int = 1_024
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
        jobs_bytes=settings.jobs_stream_mib * MIB,
    )
    within_s = settings.connect_timeout_s
    async with connected(settings.nats_url, "tollgate-migrate", timeout_s=within_s) as client:
        made = await streams.prepare(client, sizes)
    print("streams:", ", ".join(str(info.config.name) for info in made))
    print(streams.disk_estimate(sizes))


class StatusSettings(Struct, frozen=True, kw_only=True):
    """What is looked at."""

    database_url: str
    usage_retention_days: Days = DEFAULT_DAYS


class Status(Struct, frozen=True, kw_only=True):
    """What the ledger runs on."""

    healthy: bool  # nothing endangers data; there may be advice
    checks: Sequence[Check]
    facts: Facts


def show_status(*, as_json: bool) -> int:
    """Say what the ledger runs on, and what is to be mended.

    Returns:
        The exit status.
    """
    settings = read_settings(StatusSettings, environment_for_commands())
    missing = pending(settings.database_url)
    facts = ask_ledger(
        lambda connection: read_facts(
            connection, pending=missing, retention_days=settings.usage_retention_days
        )
    )
    checks = check(facts, datetime.now(UTC))
    healthy = not any(one.danger for one in checks)
    if as_json:
        print_json(Status(healthy=healthy, checks=checks, facts=facts))
    else:
        _print(facts, checks)
    return 0 if healthy else UNWELL


def _print(facts: Facts, checks: Sequence[Check]) -> None:
    print(f"edition: {facts.edition}, PostgreSQL {facts.server.version}", end="")
    print(f", TimescaleDB {facts.server.timescaledb}" if facts.server.timescaledb else "")
    if facts.chunks:
        hours, mib = facts.chunks.interval_s / 3_600, facts.chunks.largest_bytes / MIB
        print(f"chunks: {facts.chunks.chunks} of {hours:g} h, the largest {mib:,.1f} MiB")
    if facts.jobs:
        print()
        show(facts.jobs, ("id", "policy", "table", "last_status", "last_success"), as_json=False)
    print()
    show(checks, ("name", "ok", "danger", "found", "mend"), as_json=False)

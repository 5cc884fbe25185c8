"""`tollgate stripe meter`."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer
from msgspec import Struct

from consumers.stripe.metering import Exported, export
from deploy.commands.output import AsJson, print_json, show
from deploy.commands.servers import ask_ledger, ask_stripe
from deploy.environment import environment_for_commands, read_settings
from deploy.errors import DeployError
from events.meters import Meters
from events.plans import read_meters
from ledger.db import Connection, Pool
from ledger.stripe import meters
from ledger.stripe.api import StripeApi
from ledger.stripe.meters import Counted, ParkedEvent, Unlinked

LISTED = 100


class NoMeters(DeployError):
    """Nothing says what to tell Stripe."""


class Busy(DeployError):
    """Somebody else is at it."""


class MeterSettings(Struct, frozen=True, kw_only=True):
    """Where the meters are."""

    plans_file: str = ""


class Status(Struct, frozen=True, kw_only=True):
    """How far Stripe's meters are, and what was done now."""

    exported: Exported | None
    events: Sequence[Counted]
    parked: Sequence[ParkedEvent]
    unlinked: Sequence[Unlinked]


def meter(
    *,
    status: Annotated[bool, typer.Option("--status", help="Only show how far it is.")] = False,
    release: Annotated[
        bool, typer.Option("--release", help="Send what is parked once more.")
    ] = False,
    write_off: Annotated[
        UUID | None, typer.Option(metavar="IDENTIFIER", help="Give up a parked event.")
    ] = None,
    reason: Annotated[str, typer.Option(help="Why, for --write-off; it stays.")] = "",
    as_json: AsJson = False,
) -> None:
    """Tell Stripe's meters now what they do not know, and show how far they are."""
    if write_off:
        if not reason:
            raise typer.BadParameter("say why, with --reason")
        ask_ledger(lambda ledger: meters.write_off(ledger, write_off, reason))
    if release:
        ask_ledger(meters.release)
    exported = None if status or write_off else _export()
    found = ask_ledger(lambda ledger: _read(ledger, exported))
    if as_json:
        print_json(found)
        return
    if exported:
        _show_exported(exported)
    show(found.events, ("event_name", "fate", "events", "amount"), as_json=False)
    for parked in found.parked:
        print(
            f"parked {parked.identifier}: {parked.amount:,} {parked.event_name} of "
            f"{parked.customer}, {parked.hour:%Y-%m-%d %H:%M}: {parked.reason}"
        )
    for one in found.unlinked:
        print(
            f"{one.event_name}: {one.amount:,} of {one.accounts:,} accounts that are no customers "
            f"at Stripe; it counts for {meters.TAKEN.days} days"
        )


def _export() -> Exported:
    declared = _declared()

    async def run(pool: Pool, stripe: StripeApi) -> Exported | None:
        return await export(pool, stripe, declared, asyncio.Event())

    found = ask_stripe(run)
    if found is None:
        raise Busy("another process tells Stripe's meters just now; try --status")
    return found


def _declared() -> Meters:
    settings = read_settings(MeterSettings, environment_for_commands())
    declared = read_meters(Path(settings.plans_file)) if settings.plans_file else ()
    if not declared:
        raise NoMeters("no [[meter]] in the file that TOLLGATE_PLANS_FILE names: docs/usage.md")
    return declared


def _show_exported(found: Exported) -> None:
    print(f"{found.frozen:,} frozen, {found.sent:,} sent, {found.parked:,} parked")
    for held in found.held:
        print(f"not told: {held}")


async def _read(ledger: Connection, exported: Exported | None) -> Status:
    return Status(
        exported=exported,
        events=await meters.count_events(ledger),
        parked=await meters.find_parked(ledger, LISTED),
        unlinked=await meters.find_unlinked(ledger, datetime.now(UTC)),
    )

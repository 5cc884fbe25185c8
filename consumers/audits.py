"""Verifies usage now and then, and says what came of it."""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog
from nats.aio.client import Client

from consumers import metrics
from consumers.keeping import keep_doing
from consumers.pause import pause
from consumers.verification import Verifier
from events import audits
from events.audits import UsageAudited
from ledger.db import Pool, acquire, only_one
from ledger.stripe.api import StripeApi

log = structlog.get_logger()

BACK: Final = timedelta(days=2)
SHOWN: Final = 20  # findings in the log
CUSTOMERS: Final = 200  # of whom Stripe is asked, each of one meter: ten seconds at our pace
STARTED_S: Final = 60.0  # before the first one: the fold has come up by then


async def audit(
    nats: Client, pool: Pool, kept: timedelta, stripe: StripeApi | None = None
) -> UsageAudited | None:
    """Verify the last two days, say so, and publish it; None where somebody else does it.

    Raises:
        LedgerUnavailable, nats.errors.Error: nothing is known.
    """
    now = datetime.now(UTC)
    async with acquire(pool) as ledger, only_one(ledger, "audit") as ours:
        if not ours:
            return None
        verifier = Verifier(
            nats,
            ledger,
            since=now - BACK,
            until=now,
            kept_since=now - kept,
            stripe=stripe,
            customers=CUSTOMERS,
        )
        found = await verifier.verify(read_stream=False)
    metrics.AUDIT_MISSING.set(found.missing)
    metrics.AUDIT_DOUBLE.set(found.double)
    metrics.AUDIT_FINDINGS.set(len(found.findings))
    metrics.AUDITED_AT.set(time.time())
    say = log.info if found.balanced else log.error
    say(
        "usage_audited",
        events=found.events,
        missing=found.missing,
        double=found.double,
        findings=[one.what for one in found.findings[:SHOWN]],
    )
    await nats.jetstream().publish(audits.USAGE, audits.encode(found))
    return found


async def keep_audited(
    nats: Client,
    pool: Pool,
    stop: asyncio.Event,
    *,
    every_s: float,
    kept: timedelta,
    stripe: StripeApi | None,
) -> None:
    """Do so until `stop`, beginning soon after the start."""

    async def work() -> float:
        await audit(nats, pool, kept, stripe)
        return every_s

    await pause(stop, min(every_s, STARTED_S))
    await keep_doing("usage_audit", work, stop, retry_s=every_s)

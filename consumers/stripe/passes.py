"""Passes over Stripe's lists: by one process at a time, when they are due, with patience."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

import nats.errors
import structlog
from nats.aio.client import Client

from consumers import metrics
from consumers.pause import pause
from consumers.settings import Settings
from consumers.stripe.poll import Poll
from ledger.db import Connection, Pool, acquire, only_one
from ledger.errors import LedgerUnavailable, StripeError
from ledger.stripe.api import StripeApi
from ledger.stripe.passes import POLL, Pass, begin_pass, fail_pass, find_pass, finish_pass

log = structlog.get_logger()

RETRY_S: Final = 5.0  # where even the failure could not be written down
ELSEWHERE_S: Final = 30.0  # to look again at what another process does
FAILURES: Final = (StripeError, nats.errors.Error, OSError, TimeoutError)

Run = Callable[[Connection, Pass], Awaitable[Pass]]


async def keep_passing(
    nats_client: Client, pool: Pool, settings: Settings, stop: asyncio.Event
) -> None:
    """Poll Stripe's events until `stop`."""
    api = StripeApi(settings.stripe_api_key, settings.stripe_api_base)
    try:
        async with asyncio.TaskGroup() as tasks:
            if every_s := settings.stripe_poll_s:
                run = Poll(api, nats_client).run
                tasks.create_task(keep_taking_turns(POLL, run, pool, stop, every_s=every_s))
    finally:
        await api.close()


async def keep_taking_turns(
    name: str, run: Run, pool: Pool, stop: asyncio.Event, *, every_s: float
) -> None:
    """Run a pass whenever it is due, until `stop`."""
    while not stop.is_set():
        try:
            wait_s = await _turn(name, run, pool, every_s)
        except (LedgerUnavailable, *FAILURES) as error:
            log.warning("stripe_pass_waits", name=name, error=repr(error))
            wait_s = RETRY_S
        await pause(stop, wait_s)


async def _turn(name: str, run: Run, pool: Pool, every_s: float) -> float:
    """Run it if it is due and nobody else does; the seconds until it is to be tried again."""
    async with acquire(pool) as connection, only_one(connection, f"stripe_{name}") as ours:
        if not ours:
            return min(every_s, ELSEWHERE_S)
        known = await find_pass(connection, name)
        # all processes share `due_at`; one that was told a shorter time need not wait for it
        if known is not None and known.due_in_s > 0:
            return min(known.due_in_s, every_s)
        await take_turn(name, run, connection, every_s=every_s)
        after = await find_pass(connection, name)
        return max(0.0, after.due_in_s) if after else every_s


async def take_turn(name: str, run: Run, connection: Connection, *, every_s: float) -> Pass | None:
    """Run a pass now; for who holds its lock on this connection.

    Returns:
        How it ended; None where it failed, which is written down and said.

    Raises:
        LedgerUnavailable, asyncpg.PostgresError: PostgreSQL is away, or changed.
    """
    started = time.monotonic()
    begun = await begin_pass(connection, name)
    try:
        done = await run(connection, begun)
    except FAILURES as error:
        failures = await fail_pass(connection, name, _words(error), every_s=every_s)
        metrics.STRIPE_PASS_FAILURES.labels(name).set(failures)
        log.warning("stripe_pass_failed", name=name, failures=failures, error=_words(error))
        return None
    await finish_pass(connection, name, every_s=every_s)
    metrics.STRIPE_PASS_FAILURES.labels(name).set(0)
    metrics.STRIPE_PASSED_AT.labels(name).set(time.time())
    log.info(
        "stripe_passed",
        name=name,
        passed=done.passed,
        found=done.found,
        seconds=round(time.monotonic() - started, 1),
    )
    return done


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".rstrip(": ")

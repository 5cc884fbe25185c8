"""Passes over Stripe's lists: by one process at a time, when they are due, with patience."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

import structlog
from msgspec import Struct

from consumers import metrics
from consumers.keeping import TROUBLE, keep_doing
from ledger.db import Connection, Pool, acquire, only_one
from ledger.stripe.passes import Pass, begin_pass, fail_pass, find_pass, finish_pass

log = structlog.get_logger()

RETRY_S: Final = 5.0  # where even the failure could not be written down
ELSEWHERE_S: Final = 30.0  # to look again at what another process does

Run = Callable[[Connection, Pass], Awaitable[Pass]]


class Turns(Struct, frozen=True):
    """A pass that is run again and again."""

    name: str
    run: Run
    every_s: float  # 0: never


async def keep_passing(turns: Iterable[Turns], pool: Pool, stop: asyncio.Event) -> None:
    """Run each pass whenever it is due, until `stop`: what then is under way goes on next time."""
    async with asyncio.TaskGroup() as tasks:
        kept = [tasks.create_task(_keep(one, pool, stop)) for one in turns if one.every_s]
        await stop.wait()
        for task in kept:
            task.cancel()


async def _keep(turns: Turns, pool: Pool, stop: asyncio.Event) -> None:
    async def turn() -> float:
        return await _turn(turns.name, turns.run, pool, turns.every_s)

    await keep_doing(f"stripe_{turns.name}", turn, stop, retry_s=RETRY_S)


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
    except Exception as error:  # a fault of ours waits as long as one of Stripe's
        failures = await fail_pass(connection, name, _words(error), every_s=every_s)
        metrics.STRIPE_PASS_FAILURES.labels(name).set(failures)
        log.warning(
            "stripe_pass_failed",
            name=name,
            failures=failures,
            error=_words(error),
            exc_info=not isinstance(error, TROUBLE),
        )
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

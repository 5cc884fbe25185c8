"""Asks Stripe for the objects that its events leave undecided."""

import asyncio
from collections.abc import Sequence
from typing import Final

import structlog

from consumers.pause import pause
from events.plans import Plans
from events.plans_file import PlansFile
from ledger.db import Connection, Pool, acquire, only_one
from ledger.errors import (
    LedgerError,
    LedgerUnavailable,
    StripeError,
    StripeKeyRefused,
    StripeRefused,
    StripeUnavailable,
)
from ledger.stripe.api import Json, StripeApi
from ledger.stripe.entitlements import follow
from ledger.stripe.fetch import FETCHED, fetch_object
from ledger.stripe.objects import Unsettled, asking_at, list_unsettled, postpone, store_objects

log = structlog.get_logger()

LOOK_S: Final = 0.3  # between two looks where nothing waits
RETRY_S: Final = 2.0  # before taking the place of who does it, or PostgreSQL is tried again
AWAY_S: Final = (1.0, 2.0, 5.0, 15.0, 60.0)  # after Stripe was away once, twice, ...
BATCH: Final = 20  # objects, asked for at once: a second's worth of `StripeApi`


async def settle(connection: Connection, api: StripeApi, plans: Plans) -> int:
    """Ask for some of the unsettled objects, the oldest doubt first.

    Stripe is not waited for within a transaction. What it refuses, and what an answer
    leaves as it was, is asked for again after an hour.

    Returns:
        How many were asked for.

    Raises:
        StripeUnavailable, StripeKeyRefused: what others answered meanwhile is stored.
    """
    asked = await asking_at(connection)
    waiting = await list_unsettled(connection, FETCHED, BATCH)
    if not waiting:
        return 0
    answers = await asyncio.gather(*[_ask(api, one) for one in waiting])
    objects = [answer for answer in answers if not isinstance(answer, StripeError)]
    failed = [answer for answer in answers if isinstance(answer, StripeError)]
    in_vain = [
        one.id
        for one, answer in zip(waiting, answers, strict=True)
        if isinstance(answer, StripeRefused | dict)
    ]
    async with connection.transaction():
        changed = await store_objects(connection, objects, fetched_at=asked)
        await postpone(connection, in_vain, asked)
        await follow(connection, changed.customers, plans)
    log.info("stripe_settled", asked=len(waiting), changed=len(changed.objects))
    _raise_first(failed)
    return len(waiting)


async def keep_settled(pool: Pool, api: StripeApi, plans: PlansFile, stop: asyncio.Event) -> None:
    """Do so until `stop`; of all processes one at a time, so that Stripe's limits are kept."""
    while not stop.is_set():
        try:
            async with acquire(pool) as connection, only_one(connection, "stripe_settle") as ours:
                if ours:
                    await _keep(connection, api, plans, stop)
        except (LedgerUnavailable, OSError, TimeoutError) as error:
            log.warning("stripe_not_settled", error=repr(error))
        except LedgerError:
            log.exception("stripe_not_settled")
        await pause(stop, RETRY_S)


async def _keep(
    connection: Connection, api: StripeApi, plans: PlansFile, stop: asyncio.Event
) -> None:
    failures = 0
    while not stop.is_set():
        try:
            asked = await settle(connection, api, plans.plans)
        except (StripeUnavailable, StripeKeyRefused) as error:
            log.warning("stripe_not_asked", error=repr(error))
            await pause(stop, AWAY_S[min(failures, len(AWAY_S) - 1)])
            failures += 1
        else:
            failures = 0
            if not asked:
                await pause(stop, LOOK_S)


async def _ask(api: StripeApi, one: Unsettled) -> Json | StripeError:
    try:
        return await fetch_object(api, one.type, one.id, one.customer)
    except StripeRefused as error:
        log.warning("stripe_refused", object=one.id, error=repr(error))
        return error
    except StripeError as error:
        return error


def _raise_first(failed: Sequence[StripeError]) -> None:
    for error in failed:
        if not isinstance(error, StripeRefused):
            raise error

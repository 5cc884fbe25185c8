"""Asks Stripe for the objects that its events leave undecided."""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Final

import structlog

from consumers.keeping import keep_doing
from consumers.pause import pause
from events.plans import Plans
from events.plans_file import PlansFile
from ledger.db import Pool, acquire, only_one
from ledger.errors import (
    RefusedByLedger,
    StripeError,
    StripeKeyRefused,
    StripeNotPermitted,
    StripeRefused,
    StripeUnavailable,
    UnreadableObject,
)
from ledger.stripe.api import Json, StripeApi
from ledger.stripe.entitlements import follow
from ledger.stripe.fetch import FETCHED, fetch_objects
from ledger.stripe.objects import asking_at, list_unsettled, postpone, store_objects

log = structlog.get_logger()

LOOK_S: Final = 0.3  # between two looks where nothing waits
RETRY_S: Final = 2.0  # before taking the place of who does it, or PostgreSQL is tried again
AWAY_S: Final = (1.0, 2.0, 5.0, 15.0, 60.0)  # after Stripe was away once, twice, ...
BATCH: Final = 20  # objects, asked for at once: a second's worth of `StripeApi`
#: Answers that are about one object, and no hindrance to others.
_REFUSED: Final = (StripeRefused, StripeNotPermitted, UnreadableObject)


async def settle(pool: Pool, api: StripeApi, plans: Plans) -> int:
    """Ask for some of the unsettled objects, the oldest doubt first.

    Stripe is not waited for within a transaction. What it refuses or answers with nonsense,
    and what an answer leaves as it was, is asked for again after an hour.

    Returns:
        How many were asked for.

    Raises:
        StripeUnavailable, StripeKeyRefused: what others answered meanwhile is stored.
        LedgerUnavailable: nothing is.
    """
    async with acquire(pool) as connection:
        asked = await asking_at(connection)
        waiting = await list_unsettled(connection, FETCHED, BATCH)
    if not waiting:
        return 0
    answers = await fetch_objects(api, waiting)
    answered = [
        (one.id, answer)
        for one, answer in zip(waiting, answers, strict=True)
        if not isinstance(answer, StripeError)
    ]
    changed = await _store(pool, answered, asked, plans)
    refused = {
        one.id: answer
        for one, answer in zip(waiting, answers, strict=True)
        if isinstance(answer, _REFUSED)
    }
    for object_id, error in refused.items():
        log.warning("stripe_refused", object=object_id, error=repr(error))
    async with acquire(pool) as connection:
        await postpone(connection, list(refused), asked)
    log.info("stripe_settled", asked=len(waiting), changed=changed)
    for answer in answers:
        if isinstance(answer, StripeError) and not isinstance(answer, _REFUSED):
            raise answer
    return len(waiting)


async def _store(
    pool: Pool, answered: Sequence[tuple[str, Json]], asked: datetime, plans: Plans
) -> int:
    """Store all answers, or all that can be; the number of objects that they changed."""
    ids = [object_id for object_id, _ in answered]
    try:
        async with acquire(pool) as connection, connection.transaction():
            changed = await store_objects(
                connection, [answer for _, answer in answered], fetched_at=asked
            )
            await postpone(connection, ids, asked)
            await follow(connection, changed.customers, plans)
            return len(changed.objects)
    except RefusedByLedger as error:  # an answer that JSONB cannot hold
        if len(answered) > 1:
            middle = len(answered) // 2
            first = await _store(pool, answered[:middle], asked, plans)
            return first + await _store(pool, answered[middle:], asked, plans)
        log.error("stripe_answer_refused", object=ids[0], error=str(error))
    async with acquire(pool) as connection:
        await postpone(connection, ids, asked)
    return 0


async def keep_settled(pool: Pool, api: StripeApi, plans: PlansFile, stop: asyncio.Event) -> None:
    """Do so until `stop`; of all processes one at a time, so that Stripe's limits are kept."""

    async def take_place() -> float:
        async with acquire(pool) as connection, only_one(connection, "stripe_settle") as ours:
            if ours:
                await _keep(pool, api, plans, stop)
        return RETRY_S

    await keep_doing("stripe_settling", take_place, stop, retry_s=RETRY_S)


async def _keep(pool: Pool, api: StripeApi, plans: PlansFile, stop: asyncio.Event) -> None:
    failures = 0
    while not stop.is_set():
        try:
            asked = await settle(pool, api, plans.plans)
        except (StripeUnavailable, StripeKeyRefused) as error:
            log.warning("stripe_not_asked", error=repr(error))
            await pause(stop, AWAY_S[min(failures, len(AWAY_S) - 1)])
            failures += 1
        else:
            failures = 0
            if not asked:
                await pause(stop, LOOK_S)

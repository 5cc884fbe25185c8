"""Journals Stripe's events, keeps its objects as they leave them, and has plans follow."""

from collections.abc import Sequence
from typing import Final

import structlog
from nats.aio.msg import Msg

from consumers.consumer import Consumer
from events import streams, stripe
from events.plans_file import PlansFile
from ledger.db import Pool, acquire
from ledger.stripe.entitlements import follow
from ledger.stripe.events import ReceivedEvent, journal
from ledger.stripe.objects import fold_objects

log = structlog.get_logger()

BATCH: Final = 200  # an event may weigh a hundred kilobytes
LINGER_S: Final = 0.05  # somebody who has just paid waits for it


def _decode(message: Msg) -> ReceivedEvent:
    return ReceivedEvent(
        event=stripe.decode(message.data),
        payload=message.data.decode(),
        received_at=message.metadata.timestamp,
    )


def stripe_journal(plans: PlansFile) -> Consumer[ReceivedEvent]:
    """The journal's consumer, by whose plans accounts follow."""

    async def write(pool: Pool, received: Sequence[ReceivedEvent]) -> None:
        async with acquire(pool) as connection, connection.transaction():
            new = await journal(connection, received)
            changed = await fold_objects(connection, new)
            await follow(connection, changed.customers, plans.plans)
        log.debug("stripe_journaled", events=len(received), new=len(new))

    return Consumer(
        stream=streams.STRIPE,
        config=streams.stripe_journal(),
        batch=BATCH,
        linger_s=LINGER_S,
        decode=_decode,
        write=write,
    )

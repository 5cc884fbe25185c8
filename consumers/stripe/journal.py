"""Journals Stripe's events, keeps its objects as they leave them, and has plans follow."""

from collections.abc import Sequence
from typing import Final

import structlog
from nats.aio.msg import Msg

from consumers.consumer import Consumer
from consumers.errors import Undeliverable
from events import streams, stripe
from events.plans_file import PlansFile
from ledger.db import Pool, acquire
from ledger.stripe.entitlements import follow
from ledger.stripe.events import ReceivedEvent, journal
from ledger.stripe.objects import fold_objects

log = structlog.get_logger()

BATCH: Final = 200  # an event may weigh a hundred kilobytes
LINGER_S: Final = 0.05  # somebody who has just paid waits for it


def stripe_journal(plans: PlansFile, *, live: bool | None) -> Consumer[ReceivedEvent]:
    """The journal's consumer.

    Args:
        plans: By which accounts follow.
        live: Of which mode events are to be; None: of any. Those of the other one are
            parked: what somebody tries out must not change what others pay for. So are those
            of connected accounts, which are not about our customers.
    """

    def decode(message: Msg) -> ReceivedEvent:
        event = stripe.decode(message.data)
        if event.account is not None:
            raise Undeliverable(f"it is of the connected account {event.account}, not of ours")
        if live is not None and event.livemode is (not live):
            mode, key = ("test", "live") if live else ("live", "test")
            raise Undeliverable(f"it is of {mode} mode, and TOLLGATE_STRIPE_API_KEY of {key} mode")
        return ReceivedEvent(
            event=event,
            payload=message.data.decode(),
            received_at=message.metadata.timestamp,
        )

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
        decode=decode,
        write=write,
    )

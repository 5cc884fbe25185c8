"""What Stripe has just answered, taken in at once: nobody waits for its webhook."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from events.plans import Plans
from ledger.db import Connection
from ledger.stripe.api import Json
from ledger.stripe.customers import link_customer
from ledger.stripe.entitlements import follow
from ledger.stripe.objects import store_objects


async def take_answers(
    connection: Connection, objects: Sequence[Json], *, asked_at: datetime, plans: Plans
) -> None:
    """Store objects as Stripe gave them, and have the plans follow, in one transaction.

    The event that tells of the same finds it done, and announces nothing.

    Args:
        connection: Where.
        objects: Whole ones, each with its id.
        asked_at: Before the question was sent: what happened later may be missing.
        plans: By which prices become plans.
    """
    async with connection.transaction():
        changed = await store_objects(connection, objects, fetched_at=asked_at)
        await follow(connection, changed.customers, plans)


async def take_customer(
    connection: Connection,
    account_id: UUID,
    customer: str,
    answers: Sequence[Json],
    *,
    asked_at: datetime,
    plans: Plans,
    instead: bool = False,
) -> None:
    """Link an account to a customer that Stripe has just told of, or none has to tell of.

    Objects are locked first, then customers, then accounts, as by the journal: so nobody
    deadlocks.

    Raises:
        UnknownAccount, LinkedOtherwise, CustomerTaken: as `link_customer`.
    """
    async with connection.transaction():
        await store_objects(connection, answers, fetched_at=asked_at)
        await follow(connection, [customer], plans)  # locks it; and links it, if it says so
        if await link_customer(connection, account_id, customer, instead=instead):
            await follow(connection, [customer], plans)

"""`tollgate stripe replay`: one event of the journal, folded once more."""

from deploy.commands.plans import running_plans
from deploy.commands.servers import ask_ledger
from ledger.db import Connection
from ledger.errors import UnknownEvent
from ledger.stripe.entitlements import follow
from ledger.stripe.events import find_event
from ledger.stripe.objects import Changed, fold_objects


def replay_event(event_id: str) -> Changed:
    """Fold it, and have plans follow.

    Raises:
        UnknownEvent: the journal does not have it.
    """
    plans = running_plans().plans

    async def run(connection: Connection) -> Changed:
        if await find_event(connection, event_id) is None:
            raise UnknownEvent(event_id)
        async with connection.transaction():
            changed = await fold_objects(connection, [event_id])
            await follow(connection, changed.customers, plans)
        return changed

    return ask_ledger(run)

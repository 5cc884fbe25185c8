"""`tollgate stripe history`: what an object, or an account's terms, were at a moment."""

from datetime import UTC, datetime
from uuid import UUID

from deploy.commands.output import print_json, show
from deploy.commands.servers import ask_ledger
from deploy.errors import DeployError
from ledger.plan_changes import find_terms, list_changes
from ledger.stripe.history import find_object_at, list_object_events

EVENTS = ("created", "received_at", "type", "id", "changed")
CHANGES = ("at", "plan_before", "plan", "limits", "concurrency", "monthly_budget", "why")


class NothingKnown(DeployError):
    """Of this, or from before that."""


def show_history(id_: str, at: datetime | None, *, limit: int, as_json: bool) -> None:
    """Print how something was at a moment, or what happened to it.

    Raises:
        NothingKnown: the ledger has nothing of it.
    """
    account_id = _account_id(id_)
    if at is not None:
        at = at.replace(tzinfo=at.tzinfo or UTC)
        found = ask_ledger(
            lambda connection: (
                find_terms(connection, account_id, at)
                if account_id
                else find_object_at(connection, id_, at)
            )
        )
        if found is None:
            raise NothingKnown(f"nothing is known of {id_} from before {at:%Y-%m-%d %H:%M:%S} UTC")
        print_json(found)
    elif account_id:
        changes = ask_ledger(lambda connection: list_changes(connection, account_id, limit=limit))
        _require(changes, id_)
        show(changes, CHANGES, as_json=as_json)
    else:
        events = ask_ledger(lambda connection: list_object_events(connection, id_, limit=limit))
        _require(events, id_)
        show(events, EVENTS, as_json=as_json)


def _require(found: object, id_: str) -> None:
    if not found:
        raise NothingKnown(f"nothing is known of {id_}; name an account's id or one of Stripe's")


def _account_id(id_: str) -> UUID | None:
    try:
        return UUID(id_)
    except ValueError:
        return None

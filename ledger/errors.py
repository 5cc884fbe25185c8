"""What can go wrong with the ledger, sorted by what the caller should do."""

from datetime import datetime
from uuid import UUID


class LedgerError(Exception):
    """Base of this package's errors."""


class LedgerUnavailable(LedgerError):
    """PostgreSQL is away, overloaded or in transition; the same call may work later."""


class RefusedByLedger(LedgerError):
    """PostgreSQL will never take these values; do not try them again."""


class UnknownAccount(LedgerError):
    """There is no such account."""

    def __init__(self, account_id: UUID) -> None:
        super().__init__(f"there is no account {account_id}")
        self.account_id = account_id


class AccountExists(LedgerError):
    """The account's id is taken."""

    def __init__(self, account_id: UUID) -> None:
        super().__init__(f"account {account_id} exists already")
        self.account_id = account_id


class BadQuestion(LedgerError):
    """What was asked cannot be meant; mend the parameter."""

    def __init__(self, param: str, message: str) -> None:
        super().__init__(message)
        self.param = param


class NothingToRebuildFrom(LedgerError):
    """Totals cannot be added up anew: their events are gone."""

    def __init__(self, hour: datetime, kept_since: datetime | None = None) -> None:
        kept = f"; all are kept since {kept_since:%Y-%m-%d %H:%M}" if kept_since else ""
        super().__init__(
            f"the events of {hour:%Y-%m-%d %H:%M} UTC are gone{kept}; "
            f"its totals are all that is left of them, and stay"
        )
        self.hour = hour


class MigrationFailed(LedgerError):
    """PostgreSQL refused a migration; the schema is as it was before it."""

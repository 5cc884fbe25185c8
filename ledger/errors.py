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


class LinkedOtherwise(LedgerError):
    """The account is another customer of Stripe's."""

    def __init__(self, account_id: UUID, customer: str) -> None:
        super().__init__(f"account {account_id} is customer {customer} already")
        self.account_id = account_id
        self.customer = customer


class CustomerTaken(LedgerError):
    """The customer is another account."""

    def __init__(self, customer: str, account_id: UUID | str) -> None:
        super().__init__(f"customer {customer} belongs to account {account_id}")
        self.customer = customer
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


class NoSuchInvoice(LedgerError):
    """Nobody knows this invoice."""

    def __init__(self, name: str, *, asked: bool) -> None:
        hint = "" if asked else "; with TOLLGATE_STRIPE_API_KEY set, Stripe would be asked for it"
        super().__init__(f"there is no invoice {name} in the ledger{hint}")
        self.name = name


class BadExport(LedgerError):
    """A file that cannot be restored."""


class NotEmpty(LedgerError):
    """A restore begins where nothing is."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what}; --continue goes on with a restore of the same file")


class PlansDiffer(LedgerError):
    """Prices of the export would stand for other plans than they did."""

    def __init__(self, plan: str) -> None:
        super().__init__(
            f"plan {plan!r} has other lookup keys in TOLLGATE_PLANS_FILE than in the export, or is "
            "not there: mend that first"
        )
        self.plan = plan


class PriceNeeded(LedgerError):
    """A price that only a person can make anew."""

    def __init__(self, price: str) -> None:
        super().__init__(
            f"price {price} has tiers, which an export does not have: make it at Stripe, under "
            "this lookup key, then --continue"
        )
        self.price = price


class UnknownEvent(LedgerError):
    """The journal has no such event."""

    def __init__(self, event_id: str) -> None:
        super().__init__(f"the journal has no event {event_id}; `tollgate stripe sync` fetches")
        self.event_id = event_id


class StripeError(LedgerError):
    """Base of what goes wrong with Stripe's API."""


class NoStripeKey(StripeError):
    """Stripe cannot be asked: no key of its API is set."""

    def __init__(self) -> None:
        super().__init__("set TOLLGATE_STRIPE_API_KEY to a secret or restricted key of Stripe's")


class MeterChanged(StripeError):
    """What was told to a meter of Stripe's was something else."""

    def __init__(self, event_name: str) -> None:
        super().__init__(
            f"meter {event_name!r} has another unit, or another `only`, than when Stripe was "
            "first told of it; what is charged from now on needs a meter of another name"
        )
        self.event_name = event_name


class NothingParked(StripeError):
    """No such meter event is parked."""

    def __init__(self, identifier: UUID) -> None:
        super().__init__(
            f"no meter event {identifier} is parked; `tollgate stripe meter` lists them"
        )
        self.identifier = identifier


class StripeUnavailable(StripeError):
    """Stripe is away, overloaded or answers nonsense; the same call may work later."""


class StripeKeyRefused(StripeError):
    """Stripe does not take the key; only the operator can mend that."""


class StripeNotPermitted(StripeKeyRefused):
    """Stripe takes the key, and not for this: a restricted one lacks a permission."""


class UnreadableObject(StripeError):
    """An object of Stripe's that says nothing that we understand; others may."""


class StripeRefused(StripeError):
    """Stripe will never take this; do not try it again as it is."""

    def __init__(self, message: str, *, status: int, code: str | None, param: str | None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code  # Stripe's, as "resource_missing"
        self.param = param  # Stripe's name of what is at fault

"""What comes with time: renewals, ends of trials, further attempts to collect, expiry."""

from collections.abc import Callable, Iterator

from tests.stripe.account import Account
from tests.stripe.invoices import attempt
from tests.stripe.routes import Json
from tests.stripe.subscriptions import end, end_trial, expire, renew, settle

FIRST_PAYMENT_S = 23 * 3_600

Due = tuple[int, Callable[[Account, Json], object], Json]


def pass_to(account: Account, time: int) -> None:
    """Move the clock on, and let happen what is due until then, each at its time."""
    while due := min(_due(account, time), default=None, key=lambda one: one[0]):
        at, act, about = due
        account.clock.move_to(at)
        act(account, about)
    account.clock.move_to(time)


def _due(account: Account, until: int) -> Iterator[Due]:
    for subscription in account.objects.get("subscription", {}).values():
        for due in _of_subscription(account, subscription):
            if due[0] <= until:
                yield due


def _of_subscription(account: Account, subscription: Json) -> Iterator[Due]:
    status = subscription["status"]
    if status == "incomplete":
        yield subscription["created"] + FIRST_PAYMENT_S, expire, subscription
        return
    if status not in ("trialing", "active", "past_due", "unpaid"):
        return
    if subscription["cancel_at"] is not None:
        yield subscription["cancel_at"], _cancel, subscription
        return
    if status == "trialing":
        yield subscription["trial_end"], end_trial, subscription
        return
    items = subscription["items"]["data"]
    yield min(item["current_period_end"] for item in items), renew, subscription
    invoice = account.by_id.get(subscription["latest_invoice"])
    if invoice and invoice["status"] == "open" and invoice["next_payment_attempt"]:
        yield invoice["next_payment_attempt"], _retry, invoice


def _cancel(account: Account, subscription: Json) -> None:
    end(account, subscription, reason="cancellation_requested")


def _retry(account: Account, invoice: Json) -> None:
    attempt(account, invoice)
    settle(account, invoice)

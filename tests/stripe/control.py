"""``/_control``: what a test does to Stripe that nobody can do over its API."""

from collections.abc import Callable
from typing import Any

import msgspec

from tests.stripe import checkout, passing, payments
from tests.stripe.account import Account
from tests.stripe.courier import Courier, Manner
from tests.stripe.errors import Refused
from tests.stripe.failures import Failure, Failures
from tests.stripe.routes import Json


class Control:
    """One stand-in's levers, as methods and by name over HTTP."""

    def __init__(self, account: Account, courier: Courier, failures: Failures) -> None:
        self.account = account
        self.courier = courier
        self.failures = failures
        self.revoked: set[str] = set()  # keys
        self.actions: dict[str, Callable[..., Json]] = {
            "fail": self.fail,
            "mend": self.mend,
            "revoke": self.revoke,
            "deliver": self.deliver,
            "resend": self.resend,
            "advance": self.advance,
            "decline": self.decline,
            "accept": self.accept,
            "complete": self.complete,
            "state": self.state,
        }

    def act(self, name: str, arguments: dict[str, Any]) -> Json:
        """Do what is called so.

        Raises:
            Refused: there is nothing of that name, or not with these arguments.
        """
        if name not in self.actions:
            raise Refused(f"There is no {name}; there is {', '.join(self.actions)}.", status=404)
        try:
            return self.actions[name](**arguments)
        except (TypeError, msgspec.ValidationError) as error:
            raise Refused(str(error)) from error

    def fail(self, **failure: Any) -> Json:
        """Let requests fail: the fields of `Failure`."""
        self.failures.add(msgspec.convert(failure, Failure))
        return {}

    def mend(self) -> Json:
        """Let everything work again, revoked keys too."""
        self.failures.clear()
        self.revoked.clear()
        return {}

    def revoke(self, key: str) -> Json:
        self.revoked.add(key)
        return {}

    def deliver(self, **manner: Any) -> Json:
        """Change how events are delivered: the fields of `Manner`; those not named are as usual."""
        self.courier.change(msgspec.convert(manner, Manner))
        return {}

    def resend(self, event: str) -> Json:
        """Deliver an event once more, however stale."""
        for one in self.account.journal.events:
            if one.id == event:
                self.courier.take(one)
                return {}
        raise Refused(f"No such event: '{event}'", status=404)

    def advance(self, seconds: int) -> Json:
        """Let time pass, and with it renewals, ends of trials and attempts to collect."""
        passing.pass_to(self.account, self.account.clock.now() + seconds)
        return {"now": self.account.clock.now()}

    def decline(self, customer: str) -> Json:
        """Let a customer's payments fail from now on."""
        self.account.declined.add(customer)
        return {}

    def accept(self, customer: str) -> Json:
        """Let them succeed again, and pay what is open."""
        self.account.declined.discard(customer)
        for invoice in list(self.account.newest("invoice")):
            if invoice["customer"] == customer and invoice["status"] == "open":
                payments.pay(self.account, {}, invoice["id"])
        return {}

    def complete(self, session: str, email: str = "somebody@example.com") -> Json:
        """Pay at the checkout, as a customer would."""
        return checkout.complete(self.account, session, email=email)

    def state(self) -> Json:
        """How far deliveries are."""
        return {
            "now": self.account.clock.now(),
            "idle": self.courier.idle,
            "events": len(self.account.journal.events),
            "delivered": self.courier.delivered,
            "dropped": [event.id for event in self.courier.dropped],
        }

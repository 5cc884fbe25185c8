"""The end of a subscription."""

from typing import Annotated, Literal

from litestar.di import NamedDependency
from litestar.params import QueryParameter

from edge.auth import Caller
from edge.endpoint import API, Application, route
from edge.errors import NoSubscription
from edge.examples import Example
from edge.stripe.billing import ASKING_FOR, Billing
from edge.stripe.subscriptions import Subscription


async def delete_subscription(
    caller: NamedDependency[Caller],
    billing: NamedDependency[Billing],
    at: Annotated[Literal["period_end", "now"], QueryParameter()] = "period_end",
) -> Subscription:
    """Have Stripe end it.

    Raises:
        NoSubscription: there is none that could be ended.
        RefusedByStripe, StripeAway, BillingNotConfigured: as said by Stripe.
    """
    return await billing.cancel(caller.account.id, now=at == "now")


endpoint = route(
    "DELETE",
    "/v1/billing/subscription",
    delete_subscription,
    description="Ends the account's subscription with the period that is paid; with `at=now`, "
    "at once.",
    perspective=Application,
    services={API},
    raises={*ASKING_FOR, NoSubscription},
    example=Example(after="post_subscription"),
)

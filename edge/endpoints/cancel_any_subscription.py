"""The end of any account's subscription."""

from typing import Annotated, Literal
from uuid import UUID

from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter

from edge.endpoint import API, Admin, route
from edge.errors import NoSubscription
from edge.examples import Example
from edge.stripe.billing import ASKING_FOR, Billing
from edge.stripe.subscriptions import Subscription


async def delete_any_subscription(
    account_id: FromPath[UUID],
    billing: NamedDependency[Billing],
    at: Annotated[Literal["period_end", "now"], QueryParameter()] = "period_end",
) -> Subscription:
    """Have Stripe end it.

    Raises:
        NoSubscription: there is none that could be ended.
        RefusedByStripe, StripeAway, BillingNotConfigured: as said by Stripe.
        UnknownAccount: there is no such account.
    """
    return await billing.cancel(account_id, now=at == "now")


endpoint = route(
    "DELETE",
    "/v1/admin/accounts/{account_id:uuid}/subscription",
    delete_any_subscription,
    description="Ends an account's subscription with the period that is paid; with `at=now`, "
    "at once.",
    perspective=Admin,
    services={API},
    raises={*ASKING_FOR, NoSubscription},
    example=Example(after="post_any_subscription"),
)

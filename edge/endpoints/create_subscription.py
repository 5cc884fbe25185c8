"""A new subscription."""

from litestar.di import NamedDependency
from litestar.params import JSONBody

from edge.auth import Caller
from edge.endpoint import API, Application, route
from edge.errors import AlreadySubscribed, InvalidInput
from edge.examples import Example
from edge.stripe.billing import ASKING_FOR, Billing
from edge.stripe.subscriptions import NewSubscription, Subscription


async def post_subscription(
    data: JSONBody[NewSubscription],
    caller: NamedDependency[Caller],
    billing: NamedDependency[Billing],
) -> Subscription:
    """Have Stripe make it; a repeat makes no second one.

    Raises:
        InvalidInput: there is no such plan, or it is not for sale.
        AlreadySubscribed: to another plan.
        PaymentFailed, RefusedByStripe, StripeAway, BillingNotConfigured: as said by Stripe.
    """
    return await billing.subscribe(caller.account.id, data.plan, data.price)


endpoint = route(
    "POST",
    "/v1/billing/subscription",
    post_subscription,
    description="Subscribes the account to a plan, paid by what its owner has on file; who has "
    "nothing there goes by `/v1/billing/checkout`. A repeat makes no second one.",
    perspective=Application,
    services={API},
    status_code=201,
    raises={*ASKING_FOR, AlreadySubscribed, InvalidInput},
    example=Example(body=NewSubscription(plan="pro")),
)

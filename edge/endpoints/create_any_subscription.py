"""A new subscription, for any account."""

from uuid import UUID

from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from edge.endpoint import API, Admin, route
from edge.errors import AlreadySubscribed, InvalidInput
from edge.examples import Example
from edge.stripe.billing import ASKING_FOR, Billing
from edge.stripe.subscriptions import NewSubscription, Subscription


async def post_any_subscription(
    data: JSONBody[NewSubscription],
    account_id: FromPath[UUID],
    billing: NamedDependency[Billing],
) -> Subscription:
    """Have Stripe make it; a repeat makes no second one.

    Raises:
        InvalidInput: there is no such plan, or it is not for sale.
        AlreadySubscribed: to another plan.
        PaymentFailed, RefusedByStripe, StripeAway, BillingNotConfigured: as said by Stripe.
        UnknownAccount: there is no such account.
    """
    return await billing.subscribe(account_id, data.plan, data.price)


endpoint = route(
    "POST",
    "/v1/admin/accounts/{account_id:uuid}/subscription",
    post_any_subscription,
    description="Subscribes an account to a plan, paid by what its owner has on file.",
    perspective=Admin,
    services={API},
    status_code=201,
    raises={*ASKING_FOR, AlreadySubscribed, InvalidInput},
    example=Example(body=NewSubscription(plan="pro")),
)

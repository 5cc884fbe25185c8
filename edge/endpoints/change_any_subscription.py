"""Another plan, or an end taken back, for any account."""

from uuid import UUID

from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from edge.endpoint import API, Admin, route
from edge.errors import InvalidInput, NoSubscription
from edge.examples import Example
from edge.stripe.billing import ASKING_FOR, Billing
from edge.stripe.subscriptions import Subscription, SubscriptionChanges


async def patch_any_subscription(
    data: JSONBody[SubscriptionChanges],
    account_id: FromPath[UUID],
    billing: NamedDependency[Billing],
) -> Subscription:
    """Have Stripe change it.

    Raises:
        InvalidInput: there is no such plan, or it is not for sale.
        NoSubscription: there is none that could be changed.
        PaymentFailed, RefusedByStripe, StripeAway, BillingNotConfigured: as said by Stripe.
        UnknownAccount: there is no such account.
    """
    return await billing.change(account_id, data)


endpoint = route(
    "PATCH",
    "/v1/admin/accounts/{account_id:uuid}/subscription",
    patch_any_subscription,
    description="Changes the plan of an account's subscription, or whether it ends with "
    "its period.",
    perspective=Admin,
    services={API},
    raises={*ASKING_FOR, InvalidInput, NoSubscription},
    example=Example(
        body=SubscriptionChanges(cancel_at_period_end=False), after="post_any_subscription"
    ),
)

"""Another plan, or an end taken back."""

from litestar.di import NamedDependency
from litestar.params import JSONBody

from edge.auth import Caller
from edge.endpoint import API, Application, route
from edge.errors import InvalidInput, NoSubscription
from edge.examples import Example
from edge.stripe.billing import ASKING_FOR, Billing
from edge.stripe.subscriptions import OwnChanges, Subscription


async def patch_subscription(
    data: JSONBody[OwnChanges],
    caller: NamedDependency[Caller],
    billing: NamedDependency[Billing],
) -> Subscription:
    """Have Stripe change it.

    Raises:
        InvalidInput: there is no such plan, or it is not for sale.
        NoSubscription: there is none that could be changed.
        PaymentFailed, RefusedByStripe, StripeAway, BillingNotConfigured: as said by Stripe.
    """
    return await billing.change(caller.account.id, data)


endpoint = route(
    "PATCH",
    "/v1/billing/subscription",
    patch_subscription,
    description="Changes the plan of the account's subscription, or whether it ends with "
    "its period.",
    perspective=Application,
    services={API},
    raises={*ASKING_FOR, InvalidInput, NoSubscription},
    example=Example(body=OwnChanges(cancel_at_period_end=False), after="post_subscription"),
)

"""The account's subscription."""

from litestar.di import NamedDependency

from edge.auth import Caller
from edge.endpoint import API, Application, route
from edge.errors import NoSubscription, StripeAway
from edge.examples import Example
from edge.stripe.billing import Billing
from edge.stripe.subscriptions import Subscription


async def get_subscription(
    caller: NamedDependency[Caller],
    billing: NamedDependency[Billing],
) -> Subscription:
    """Read the ledger; Stripe is not asked.

    Raises:
        NoSubscription: there never was one.
        StripeAway: nobody understands what Stripe has said of it.
    """
    return await billing.subscription(caller.account.id)


endpoint = route(
    "GET",
    "/v1/billing/subscription",
    get_subscription,
    description="The account's subscription and its plan, as the ledger has them.",
    perspective=Application,
    services={API},
    raises={NoSubscription, StripeAway},
    example=Example(after="post_subscription"),
)

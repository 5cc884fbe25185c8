"""Any account's subscription."""

from uuid import UUID

from litestar.di import NamedDependency
from litestar.params import FromPath

from edge.endpoint import API, Admin, route
from edge.errors import NoSubscription, StripeAway
from edge.examples import Example
from edge.stripe.billing import Billing
from edge.stripe.subscriptions import Subscription


async def get_any_subscription(
    account_id: FromPath[UUID],
    billing: NamedDependency[Billing],
) -> Subscription:
    """Read the ledger; Stripe is not asked.

    Raises:
        NoSubscription: there never was one.
        StripeAway: nobody understands what Stripe has said of it.
        UnknownAccount: there is no such account.
    """
    return await billing.subscription(account_id)


endpoint = route(
    "GET",
    "/v1/admin/accounts/{account_id:uuid}/subscription",
    get_any_subscription,
    description="An account's subscription and its plan, as the ledger has them.",
    perspective=Admin,
    services={API},
    raises={NoSubscription, StripeAway},
    example=Example(after="post_any_subscription"),
)

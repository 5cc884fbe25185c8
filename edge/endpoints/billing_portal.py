"""A page of Stripe's where a customer sees invoices and changes how they are paid."""

from litestar.di import NamedDependency
from litestar.params import JSONBody
from msgspec import Struct

from edge.auth import Caller
from edge.endpoint import API, Application, route
from edge.examples import Example
from edge.input import Url
from edge.stripe.billing import ASKING_FOR, Billing


class NewPortal(Struct, frozen=True, forbid_unknown_fields=True):
    """Where to go from there."""

    return_url: Url


class PortalPage(Struct, frozen=True):
    """Where to send the customer, once."""

    url: str


async def post_portal(
    data: JSONBody[NewPortal],
    caller: NamedDependency[Caller],
    billing: NamedDependency[Billing],
) -> PortalPage:
    """Have Stripe make the page.

    Raises:
        RefusedByStripe, StripeAway, BillingNotConfigured: as said by Stripe.
    """
    return PortalPage(await billing.portal(caller.account.id, return_url=data.return_url))


endpoint = route(
    "POST",
    "/v1/billing/portal",
    post_portal,
    description="Makes a page of Stripe's where the account's owner sees invoices, changes the "
    "means of payment, or cancels. Its URL is good for a few minutes.",
    perspective=Application,
    services={API},
    status_code=201,
    raises={*ASKING_FOR},
    example=Example(body=NewPortal("https://shop.example/account")),
)

"""A page of Stripe's where a customer subscribes and pays."""

from litestar.di import NamedDependency
from litestar.params import JSONBody
from msgspec import Struct

from edge.auth import Caller
from edge.endpoint import API, Application, route
from edge.errors import AlreadySubscribed, InvalidInput
from edge.examples import Example
from edge.input import Url
from edge.stripe.billing import ASKING_FOR, Billing


class NewCheckout(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be subscribed to, and where to go from there."""

    plan: str
    price: str | None = None  # a lookup key of the plan's; the first one, if not told
    success_url: Url
    cancel_url: Url


class Page(Struct, frozen=True):
    """Where to send the customer."""

    url: str


async def post_checkout(
    data: JSONBody[NewCheckout],
    caller: NamedDependency[Caller],
    billing: NamedDependency[Billing],
) -> Page:
    """Have Stripe make the page.

    Raises:
        InvalidInput: there is no such plan, or it is not for sale.
        AlreadySubscribed: a second subscription would be paid, too.
        RefusedByStripe, StripeAway, BillingNotConfigured: as said by Stripe.
    """
    url = await billing.checkout(
        caller.account.id,
        data.plan,
        data.price,
        success_url=data.success_url,
        cancel_url=data.cancel_url,
    )
    return Page(url)


endpoint = route(
    "POST",
    "/v1/billing/checkout",
    post_checkout,
    description="Makes a page of Stripe's where the account's owner subscribes to a plan and pays. "
    "The plan holds once Stripe has said so, a moment after the payment.",
    perspective=Application,
    services={API},
    status_code=201,
    raises={*ASKING_FOR, AlreadySubscribed, InvalidInput},
    example=Example(
        body=NewCheckout(
            plan="pro",
            success_url="https://shop.example/thanks",
            cancel_url="https://shop.example/prices",
        )
    ),
)

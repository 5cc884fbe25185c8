"""Whose customer of Stripe's an account is."""

from typing import Annotated
from uuid import UUID

from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from msgspec import Meta, Struct

from edge.asking import ASKING
from edge.endpoint import API, Admin, route
from edge.examples import Example
from edge.stripe.billing import Billing


class Link(Struct, frozen=True, forbid_unknown_fields=True):
    """A customer by Stripe's id."""

    customer: Annotated[str, Meta(pattern=r"^cus_[A-Za-z0-9_]{1,200}$")]


async def put_customer(
    account_id: FromPath[UUID], data: JSONBody[Link], billing: NamedDependency[Billing]
) -> Link:
    """Link them, and write the account into the customer's metadata.

    Raises:
        UnknownAccount: there is no such account.
        CustomerConflict: another account is this customer.
        RefusedByStripe, StripeAway, BillingNotConfigured: as said by Stripe.
    """
    await billing.link(account_id, data.customer)
    return data


endpoint = route(
    "PUT",
    "/v1/admin/accounts/{account_id:uuid}/stripe-customer",
    put_customer,
    description="Says whose customer of Stripe's an account is, where it was not found by "
    "itself. Its plan follows that customer's subscription from then on.",
    perspective=Admin,
    services={API},
    raises={*ASKING},
    example=Example(body=Link("$CUSTOMER_ID")),
)

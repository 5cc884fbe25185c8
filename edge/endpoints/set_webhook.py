"""Where an account's events are posted."""

from uuid import UUID

from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody
from msgspec import Struct

from edge.endpoint import API, Admin, route
from edge.errors import InvalidParameter
from edge.examples import Example
from edge.input import Url
from edge.settings import Settings
from events.webhooks import check_url
from ledger.budgets import set_webhook
from ledger.db import Pool, acquire


class NewWebhook(Struct, frozen=True, forbid_unknown_fields=True):
    """An address of the customer's; null: nothing is posted any more."""

    url: Url | None


class SetWebhook(Struct, frozen=True):
    """The one time that the secret is shown."""

    url: str | None
    secret: str | None


async def put_webhook(
    account_id: FromPath[UUID],
    data: JSONBody[NewWebhook],
    pool: NamedDependency[Pool],
    settings: NamedDependency[Settings],
) -> SetWebhook:
    """Post an account's events there from now on, signed with a new secret.

    Raises:
        UnknownAccount: there is no such account.
        InvalidParameter: nothing is posted to such a URL.
    """
    if data.url is not None:
        try:
            check_url(data.url, inside=settings.webhooks_inside)
        except ValueError as error:
            raise InvalidParameter(str(error), param="url") from error
    async with acquire(pool) as connection:
        webhook = await set_webhook(connection, account_id, data.url)
    if webhook is None:
        return SetWebhook(None, None)
    return SetWebhook(webhook.url, webhook.secret)


endpoint = route(
    "PUT",
    "/v1/admin/accounts/{account_id:uuid}/webhook",
    put_webhook,
    description="Posts an account's events to an https URL: when 80 % and 100 % of a budget are "
    "spent, and when a job is finished whose caller asked for it. They are signed as Standard "
    "Webhooks has it, and tried again for three days.",
    perspective=Admin,
    services={API},
    example=Example(body=NewWebhook("https://shop.example/tollgate")),
)

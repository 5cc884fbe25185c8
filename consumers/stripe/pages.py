"""One page of a list of Stripe's, checked: what is no list is as good as no answer."""

from typing import Any

import msgspec
from msgspec import Struct

from ledger.errors import StripeUnavailable
from ledger.stripe.api import PAGE, Json, StripeApi


class _Listed(Struct):
    id: str


class _Page(Struct):
    data: list[_Listed]
    has_more: bool


async def read_page(api: StripeApi, path: str, **params: Any) -> tuple[list[Json], bool]:  # noqa: ANN401
    """The objects of a page, each with an id, and whether there are more.

    Raises:
        StripeUnavailable: no answer, or nonsense.
        StripeKeyRefused, StripeRefused: as `StripeApi.get` has it.
    """
    page = await api.get(path, **{"limit": PAGE} | params)
    try:
        checked = msgspec.convert(page, _Page)
    except msgspec.ValidationError as error:
        raise StripeUnavailable(f"{path} is no list: {error}") from error
    return page["data"], checked.has_more and bool(checked.data)

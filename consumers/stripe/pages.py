"""One page of a list of Stripe's, checked: what is no list is as good as no answer."""

import json
import re
from collections.abc import Sequence
from typing import Annotated, Any, Final

import msgspec
import structlog
from msgspec import Meta, Struct

from ledger.errors import StripeUnavailable
from ledger.stripe.api import PAGE, Json, StripeApi

log = structlog.get_logger()

#: NUL and halves of characters, as JSON escapes them: PostgreSQL takes neither.
_UNFIT: Final = re.compile(r"(?<!\\)(\\\\)*\\u(0000|[dD][89a-fA-F])")


class _Listed(Struct):
    id: Annotated[str, Meta(pattern="^[!-~]{1,255}$")]


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


def storable(objects: Sequence[Json]) -> list[Json]:
    """Those that the ledger can hold; the others would keep their neighbours from it."""
    fit = []
    for one in objects:
        if _UNFIT.search(json.dumps(one)) is None:
            fit.append(one)
        else:
            log.error("stripe_object_unfit", id=one["id"])
    return fit

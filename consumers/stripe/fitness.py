"""What of Stripe's answers the ledger can hold."""

import json
import re
from collections.abc import Sequence
from typing import Final

import structlog

from ledger.stripe.api import Json

log = structlog.get_logger()

#: NUL and halves of characters, as JSON escapes them: PostgreSQL takes neither.
_UNFIT: Final = re.compile(r"(?<!\\)(\\\\)*\\u(0000|[dD][89a-fA-F])")


def storable(objects: Sequence[Json]) -> list[Json]:
    """Those that the ledger can hold; the others would keep their neighbours from it."""
    fit = []
    for one in objects:
        if _UNFIT.search(json.dumps(one)) is None:
            fit.append(one)
        else:
            log.error("stripe_object_unfit", id=one["id"])
    return fit

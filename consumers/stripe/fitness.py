"""What of Stripe's answers the ledger can hold."""

from collections.abc import Sequence

import structlog

from ledger.errors import RefusedByLedger
from ledger.stripe.api import Json, as_json

log = structlog.get_logger()


def storable(kind: str, objects: Sequence[Json]) -> list[Json]:
    """Those that the ledger can hold; the others would keep their neighbours from it.

    Args:
        kind: Stripe's word for the type that they should have.
        objects: As Stripe sent them.
    """
    fit = []
    for one in objects:
        if reason := _unfit(kind, one):
            log.error("stripe_object_unfit", type=kind, id=one.get("id"), reason=reason)
        else:
            fit.append(one)
    return fit


def _unfit(kind: str, one: Json) -> str:
    if one.get("object") != kind:
        return "it is of another type, or of none"
    try:
        as_json(one)
    except RefusedByLedger as error:
        return str(error)
    return ""

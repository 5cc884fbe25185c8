"""The keys that receipts are verified with."""

from typing import Final

from litestar import Response
from litestar.di import NamedDependency

from edge.endpoint import API, Public, route
from edge.receipts import Receipts
from events.jws import KeySet

KEPT_S: Final = 300  # by caches: a new key is to be seen soon


async def get_receipt_keys(receipts: NamedDependency[Receipts]) -> Response[KeySet]:
    """Publish all of them, those that sign no more included."""
    headers = {"Cache-Control": f"public, max-age={KEPT_S}"}
    return Response(receipts.published, headers=headers)


endpoint = route(
    "GET",
    "/v1/receipts/keys",
    get_receipt_keys,
    description="The public keys (Ed25519) of receipts, as a JWK Set. Keep a copy: with it "
    "`tollgate receipts verify`, or any JOSE library, verifies receipts offline.",
    perspective=Public,
    services={API},
)

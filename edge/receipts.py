"""What is recorded of one request, and a receipt for it."""

import time
from collections.abc import Sequence
from typing import Final
from uuid import UUID

from msgspec.structs import asdict

from edge.errors import UnknownRequest
from events.jws import KeySet, SigningKey
from events.plans import show_money
from events.receipts import Facts, issue
from events.usage import Quantities
from ledger.db import Pool, acquire
from ledger.requests import Requested, find_request

RECENT_S: Final = 3_600.0  # a record comes within seconds, unless the consumers are behind
QUANTITIES: Final = tuple(
    name for name in Quantities.__struct_fields__ if name not in {"cost", "errors"}
)


class RecordedRequest(Facts, frozen=True, kw_only=True):
    """One request, and its receipt."""

    receipt: str | None  # these facts as a JWS; None where the server has no key to sign with


class Receipts:
    """Answers for single requests.

    Args:
        pool: The ledger's.
        keys: The first one signs, the others are still published; none: nothing is signed.
        issuer: Whose word a receipt is.
    """

    def __init__(self, pool: Pool, keys: Sequence[SigningKey], *, issuer: str) -> None:
        self._pool = pool
        self._key = keys[0] if keys else None
        self._issuer = issuer
        self.published = KeySet([key.public for key in keys])

    async def find(self, request_id: str, account_id: UUID | None) -> RecordedRequest:
        """A request of an account, or of any.

        Raises:
            UnknownRequest: answered 404. Of somebody else's request it says the same.
            LedgerUnavailable: answered 503.
        """
        try:
            identifier = UUID(request_id)
            async with acquire(self._pool) as connection:
                requested = await find_request(connection, identifier, account_id)
        except (ValueError, OverflowError) as error:
            message = "this is no request id: an answer's is in its header X-Request-Id"
            raise UnknownRequest(message, param="request_id") from error
        if requested is None:
            raise _unknown(identifier)
        facts = _facts(requested)
        return RecordedRequest(**asdict(facts), receipt=self._receipt(facts))

    def _receipt(self, facts: Facts) -> str | None:
        if self._key is None:
            return None
        return issue(facts, self._key, issuer=self._issuer, now=time.time())


def _unknown(request_id: UUID) -> UnknownRequest:
    age_s = time.time() - (request_id.int >> 80) / 1_000
    if abs(age_s) < RECENT_S:
        message = (
            "nothing is recorded under this id yet: that takes a second or two from the answer "
            "on; requests that were refused or failed are not recorded one by one"
        )
        return UnknownRequest(message, param="request_id", retry_after_s=1)
    message = (
        "nothing is recorded under this id: no answered request has it, or its record is older "
        "than what is kept"
    )
    return UnknownRequest(message, param="request_id")


def _facts(requested: Requested) -> Facts:
    used = requested.usage
    prices = {unit: show_money(rate) for unit, rate in used.rates.items()}
    return Facts(
        request_id=used.request_id,
        account=used.account_id,
        key=used.key_id,
        model=used.model,
        task=used.task,
        status=used.status,
        started_at=used.started_at,
        recorded_at=requested.recorded_at,
        duration_ms=used.duration_ms or None,
        parts=requested.parts,
        billed=requested.parts > 0,
        quantities={name: getattr(used.quantities, name) for name in QUANTITIES},
        cost=show_money(used.quantities.cost),
        plan=used.plan or None,
        price_per_unit=prices if used.plan else None,
    )

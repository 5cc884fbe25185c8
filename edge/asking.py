"""Asking Stripe while a caller waits: what can go wrong, in words that a caller may read."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

import structlog

from edge.errors import (
    BillingNotConfigured,
    CustomerConflict,
    PaymentFailed,
    RefusedByStripe,
    StripeAway,
)
from ledger.errors import (
    CustomerTaken,
    LinkedOtherwise,
    NoStripeKey,
    RefusedByLedger,
    StripeKeyRefused,
    StripeRefused,
    StripeUnavailable,
    UnreadableObject,
)
from ledger.stripe.api import StripeApi

log = structlog.get_logger()

ASK_S: Final = 20.0  # for all that one request asks of Stripe
RETRY_S: Final = 5.0
ASKING: Final = (  # what `asking` may raise
    BillingNotConfigured,
    CustomerConflict,
    PaymentFailed,
    RefusedByStripe,
    StripeAway,
)


@asynccontextmanager
async def asking(stripe: StripeApi | None) -> AsyncIterator[StripeApi]:
    """Ask Stripe within the block, until its deadline.

    Raises:
        BillingNotConfigured: there is no key, or none that Stripe takes.
        StripeAway: nobody knows whether it was done; the same call finds out.
        PaymentFailed, RefusedByStripe: it was not done, in Stripe's words.
        CustomerConflict: a customer is one account, and the other way round.
    """
    if stripe is None:
        raise BillingNotConfigured(f"billing is not configured here: {NoStripeKey()}")
    try:
        async with asyncio.timeout(ASK_S):
            with understanding():
                yield stripe
    except StripeKeyRefused as error:
        log.error("stripe_key_refused", error=str(error))
        raise BillingNotConfigured(
            "billing is not configured here: Stripe does not take TOLLGATE_STRIPE_API_KEY"
        ) from error
    except (StripeUnavailable, TimeoutError) as error:
        log.warning("stripe_unavailable", error=repr(error))
        message = "Stripe does not answer; try again, it will not be done twice"
        raise StripeAway(message, retry_after_s=RETRY_S) from error
    except StripeRefused as error:
        kind = PaymentFailed if error.status == 402 else RefusedByStripe  # noqa: PLR2004 - Payment Required
        raise kind(str(error), param=error.param) from error
    except (LinkedOtherwise, CustomerTaken) as error:
        raise CustomerConflict(str(error)) from error


@contextmanager
def understanding() -> Iterator[None]:
    """Read within the block what Stripe says, or has said.

    Raises:
        StripeAway: nobody understands it.
    """
    try:
        yield
    except (UnreadableObject, RefusedByLedger) as error:
        log.error("stripe_not_understood", error=str(error))
        message = "Stripe says of this what nobody here understands; tell us, and try again later"
        raise StripeAway(message, retry_after_s=RETRY_S) from error

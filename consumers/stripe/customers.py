"""Makes each account a customer of Stripe's, soon after it was made, without anybody waiting."""

import asyncio
from datetime import timedelta
from typing import Final

import structlog

from consumers.keeping import keep_doing
from events.plans import Plans
from events.plans_file import PlansFile
from ledger.db import Pool, acquire
from ledger.errors import (
    CustomerTaken,
    LinkedOtherwise,
    RefusedByLedger,
    StripeError,
    StripeKeyRefused,
    StripeUnavailable,
    UnreadableObject,
)
from ledger.stripe.answers import take_customer
from ledger.stripe.api import StripeApi
from ledger.stripe.customers import (
    CustomerJob,
    find_customer_of,
    make_customer,
    put_off_job,
    take_jobs,
)
from ledger.stripe.objects import asking_at

log = structlog.get_logger()

LOOK_S: Final = 1.0
BATCH: Final = 20
LEASE: Final = timedelta(minutes=3)  # longer than Stripe takes to answer a batch or to fail
DELAYS: Final = (timedelta(seconds=5), timedelta(minutes=1), timedelta(minutes=10))  # then the last
REFUSED: Final = timedelta(hours=1)  # only a person can mend that, here or there


async def keep_customers(
    pool: Pool, stripe: StripeApi, plans: PlansFile, stop: asyncio.Event
) -> None:
    """Work jobs off until `stop`; PostgreSQL and Stripe may be away for a while."""

    async def work() -> float:
        async with acquire(pool) as connection:
            jobs = await take_jobs(connection, BATCH, lease=LEASE)
        for job in jobs:
            await _work(pool, stripe, plans.plans, job)
        return 0.0 if jobs else LOOK_S

    await keep_doing("stripe_customers", work, stop, retry_s=LOOK_S)


async def _work(pool: Pool, stripe: StripeApi, plans: Plans, job: CustomerJob) -> None:
    try:
        await _become(pool, stripe, plans, job)
    except (LinkedOtherwise, CustomerTaken, RefusedByLedger, StripeError) as error:
        log.warning("stripe_customer_waits", account_id=str(job.account_id), error=str(error))
        away = DELAYS[min(job.attempts, len(DELAYS)) - 1]
        refused = not isinstance(error, StripeUnavailable | StripeKeyRefused | UnreadableObject)
        async with acquire(pool) as connection:
            await put_off_job(
                connection, job.account_id, delay=REFUSED if refused else away, error=str(error)
            )


async def _become(pool: Pool, stripe: StripeApi, plans: Plans, job: CustomerJob) -> None:
    customer = job.customer
    async with acquire(pool) as connection:
        asked_at = await asking_at(connection)
        if customer is None:
            customer = await find_customer_of(connection, job.account_id)
    answers = []
    if customer is None:
        answers = [await make_customer(stripe, job.account_id, job.name)]
        customer = answers[0]["id"]
    async with acquire(pool) as connection:
        await take_customer(
            connection, job.account_id, customer, answers, asked_at=asked_at, plans=plans
        )
    log.info("stripe_customer_linked", account_id=str(job.account_id), customer=customer)

"""Folds usage events into the ledger."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import structlog
from nats.aio.msg import Msg

from consumers.consumer import Consumer
from events import streams, usage
from events.usage import UsageEvent
from ledger.ages import refuse_untimely
from ledger.db import Pool, acquire
from ledger.usage import fold_usage

log = structlog.get_logger()


def _decode(message: Msg) -> UsageEvent:
    return usage.decode(message.data)


async def _fold(pool: Pool, events: Sequence[UsageEvent]) -> None:
    refuse_untimely(events, datetime.now(UTC))
    async with acquire(pool) as connection:
        new = await fold_usage(connection, events)
    log.debug("usage_folded", events=len(events), new=new)


USAGE_FOLD: Final = Consumer(
    stream=streams.USAGE,
    config=streams.usage_fold(),
    batch=streams.FETCH,
    decode=_decode,
    write=_fold,
)

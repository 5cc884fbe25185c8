"""Tells everybody how many usage events this edge has stated."""

import asyncio
from typing import Final

import nats.errors
import structlog
from nats.aio.client import Client

from edge.metering import Meter
from events import edges
from events.edges import EdgeCounted

log = structlog.get_logger()

EVERY_S: Final = 5.0


class Tally:
    """Publishes the meter's count while it changes."""

    def __init__(self, connection: Client, meter: Meter) -> None:
        self._connection = connection
        self._meter = meter
        self._told = 0

    async def run(self) -> None:
        """Tell it, for ever."""
        while True:
            await asyncio.sleep(EVERY_S)
            await self.tell()

    async def tell(self) -> None:
        """Tell it if it has changed; it is told again, should it get lost."""
        count = self._meter.sequence
        if count == self._told:
            return
        counted = EdgeCounted(epoch=self._meter.epoch, sequence=count)
        try:
            await self._connection.request(counted.subject, edges.encode(counted), timeout=EVERY_S)
        except (nats.errors.Error, OSError, TimeoutError) as error:
            log.warning("count_not_told", error=repr(error))
        else:
            self._told = count

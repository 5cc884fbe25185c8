"""Telling edges which models this worker serves, and for how long that holds."""

import asyncio
import time
from contextlib import suppress
from typing import Final
from uuid import UUID

import structlog
from nats.aio.client import Client
from nats.errors import Error

from events import models
from events.models import ANNOUNCE_S, HOLD_S, ModelAnnounced, ModelDeclared

log = structlog.get_logger()

_PUBLISH_S: Final = 2.0  # below ANNOUNCE_S: a stuck one must not delay the next


class Announcer:
    """Repeats what is served for as long as it is."""

    def __init__(self, client: Client, worker_id: UUID, *, again: asyncio.Event) -> None:
        """Set up.

        Args:
            client: Connected.
            worker_id: Of this process's run.
            again: Set when announcements may have been missed, as after an outage.
        """
        self._jetstream = client.jetstream(timeout=_PUBLISH_S)
        self._worker_id = worker_id
        self._again = again
        self._served: list[ModelDeclared] = []
        self._leaving = False

    def serve(self, model: ModelDeclared) -> None:
        """Announce this model from now on."""
        self._served.append(model)
        self._again.set()

    def leave(self) -> None:
        """End `run`, with the word that nothing is served any more."""
        self._leaving = True
        self._again.set()

    async def run(self) -> None:
        """Announce, again and again, until `leave`.

        Not until cancelled: under Python 3.11 nats-py's requests can swallow that
        (python/cpython#86296).
        """
        while not self._leaving:
            self._again.clear()
            await self._announce(time.time() + HOLD_S)
            if not self._leaving:
                with suppress(TimeoutError):
                    async with asyncio.timeout(ANNOUNCE_S):
                        await self._again.wait()
        await self._announce(0.0)

    async def _announce(self, until: float) -> None:
        for model in self._served:
            announced = ModelAnnounced(model=model, worker_id=self._worker_id, until=until)
            try:
                await self._jetstream.publish(models.subject(announced), models.encode(announced))
            except (Error, TimeoutError) as error:  # what was said before holds a while yet
                log.warning("announce_failed", model=model.name, error=repr(error))

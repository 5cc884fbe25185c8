"""Where requests wait while every worker of their model is full."""

import asyncio
import random
import time
from bisect import insort
from collections.abc import Callable
from itertools import count
from typing import Final

from msgspec import Struct

from edge.errors import ModelBusy
from events.inference import Busy
from events.turns import Turns

SOONEST_S: Final = 0.01  # between two that go on without an answer's having come back
LATEST_S: Final = 1.0  # what a worker expects may be wrong
MOST_S: Final = 60.0  # told to come back after; callers' libraries give up where it is much longer


class Place(Struct, eq=False):
    """One request's place in line, which it keeps if it has to come back."""

    number: int
    priority: int
    turn: asyncio.Future[None] | None = None
    waited_s: float = 0.0


class Room:
    """The requests for one model that found its workers full, in one edge.

    Each answer that comes back leaves a place in a worker, and one request goes on. One
    goes on as well whenever a worker expects to have room, for the answers of other edges
    leave places too. So full workers are not asked more often than they have answers.

    Args:
        model: Whose.
        holds: How many may wait.
        workers: How many serve it now.
    """

    def __init__(self, model: str, *, holds: int, workers: Callable[[], int]) -> None:
        self._model = model
        self._holds = holds
        self._workers = workers
        self._line: list[Place] = []  # first come first
        self._numbers = count()
        self._turns = Turns()
        self._said = Busy(queued=0, wait_ms=0.0)
        self._timer: asyncio.TimerHandle | None = None

    def is_empty(self) -> bool:
        """Whether nobody waits: else whoever comes goes behind those who do."""
        return not self._line

    def place(self, priority: int) -> Place:
        """A place at the end of the line."""
        return Place(next(self._numbers), priority)

    def hear(self, busy: Busy) -> None:
        """Note what a full worker said of itself; one that leaves has nothing to say of others."""
        if busy.queued:
            self._said = busy

    async def wait(self, place: Place, *, until: float) -> None:
        """Return when it is this one's turn to ask.

        Args:
            place: Of this room.
            until: Unix seconds.

        Raises:
            ModelBusy: as many wait as may, or it was not its turn in time.
        """
        if place.turn is None and len(self._line) >= self._holds:
            raise self._full()
        began = time.time()
        place.turn = asyncio.get_running_loop().create_future()
        insort(self._line, place, key=lambda one: one.number)
        self._wind()
        try:
            async with asyncio.timeout(until - began):
                await place.turn
        except BaseException as error:
            if place.turn.done() and not place.turn.cancelled():
                self.release()  # its turn came as it left: it is the next one's
            if isinstance(error, TimeoutError):
                raise self._full() from None
            raise
        finally:
            place.waited_s += time.time() - began
            if place in self._line:
                self._line.remove(place)

    def release(self) -> None:
        """Let one go on, if any waits: a worker has a place again."""
        while self._line:
            place = self._line.pop(self._turns.next([one.priority for one in self._line]))
            if place.turn is not None and not place.turn.done():  # else its caller has just left
                place.turn.set_result(None)
                return

    def _wind(self) -> None:
        if self._line and self._timer is None:
            expected_s = min(max(self._said.wait_ms / 1_000, SOONEST_S), LATEST_S)
            # other edges heard the same: they should not all come at the same moment
            after_s = expected_s * random.uniform(0.75, 1.25)  # noqa: S311 - no secret
            self._timer = asyncio.get_running_loop().call_later(after_s, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self.release()
        self._wind()

    def _full(self) -> ModelBusy:
        """What is told who cannot wait: come back when what waits now is done.

        Each worker has as long a queue as the one that was heard last, and they share our line.
        """
        workers = max(1, self._workers())
        waiting = len(self._line) + workers * self._said.queued
        message = f"every worker of {self._model!r} is full: {waiting} requests wait"
        wait_ms = max(self._said.wait_ms, waiting * self._said.each_ms / workers)
        return ModelBusy(message, retry_after_s=min(max(1.0, wait_ms / 1_000), MOST_S))

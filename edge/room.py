"""Where requests wait for a worker of their model to have room."""

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
PROBES: Final = 16  # that go on by the clock at a time: their answers may be on their way
AT_ONCE: Final = 8  # tries, where there are several workers: the broker picks one at random


class Place(Struct, eq=False):
    """One request's place in line, which it keeps if it has to come back."""

    number: int
    priority: int
    until: float  # Unix seconds
    turn: asyncio.Future[str] | None = None  # which worker to ask; empty: any
    waited_s: float = 0.0


class Room:
    """The requests for one model that found its workers full, in one edge.

    This is where requests wait under load: a worker takes what it can soon begin, and whoever
    has not been taken goes to the worker that has room first. Each answer says how many may
    go on to the worker that gave it. Some go on as well whenever a worker expects to have room,
    for it may tell other edges of it: one, and twice as many each time (`PROBES` at most) until
    one is refused by all. So full workers are seldom asked in vain, and every edge has a share.

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
        self._idle: dict[str, None] = {}  # that were heard to be, the longest ago first
        self._probes = 1  # that go on when the timer says so

    @property
    def tries(self) -> int:
        """How often to ask at once before waiting here: another worker may have room."""
        return AT_ONCE if self._workers() > 1 else 1

    def is_empty(self) -> bool:
        """Whether nobody waits: else whoever comes goes behind those who do."""
        return not self._line

    def place(self, priority: int, *, until: float) -> Place:
        """A place at the end of the line, to be given up at a time in Unix seconds."""
        return Place(next(self._numbers), priority, until)

    def hear(self, busy: Busy) -> None:
        """Note what a full worker said of itself; one that leaves has nothing to say of others."""
        if busy.queued or not self._line:  # nor is what was said long ago true of now
            self._said = busy

    def hear_idle(self, worker: str) -> None:
        """Note that a worker has answered all that it held."""
        self._idle.pop(worker, None)
        self._idle[worker] = None
        while len(self._idle) > max(1, self._workers()):
            del self._idle[next(iter(self._idle))]  # it may be gone

    def idle(self) -> str:
        """A worker that should be idle, the one heard last; empty: none is known. It is told once.

        The broker would pick any, and let a request wait at one beside an idle other.
        """
        return self._idle.popitem()[0] if self._idle else ""

    async def wait(self, place: Place, *, refused: bool = False) -> str:
        """Return when it is this one's turn to ask, with the worker to ask; empty: any.

        Args:
            place: Its own.
            refused: Whether it has asked as often as it may, and found all full.

        Raises:
            ModelBusy: as many wait as may, or it was not its turn in time.
        """
        if refused:
            self._probes = 1
        began = time.time()
        if place.turn is None and len(self._line) >= self._holds:
            raise self._full()
        place.turn = asyncio.get_running_loop().create_future()
        insort(self._line, place, key=lambda one: one.number)
        self._wind()
        try:
            async with asyncio.timeout(place.until - began):
                return await place.turn
        except BaseException as error:
            if place.turn.done() and not place.turn.cancelled():
                self.release(1, place.turn.result())  # its turn came as it left: it is the next's
            if isinstance(error, TimeoutError):
                raise self._full() from None
            raise
        finally:
            place.waited_s += time.time() - began
            if place in self._line:
                self._line.remove(place)

    def release(self, places: int = 1, worker: str = "") -> None:
        """Let so many go on, if they wait: a worker has room for them; which one, if known."""
        while self._line and places > 0:
            place = self._line.pop(self._turns.next([one.priority for one in self._line]))
            if place.turn is not None and not place.turn.done():  # else its caller has just left
                self._idle.pop(worker, None)
                place.turn.set_result(worker)
                places -= 1

    def _wind(self) -> None:
        if self._line and self._timer is None:
            expected_s = min(max(self._said.wait_ms / 1_000, SOONEST_S), LATEST_S)
            # other edges heard the same: they should not all come at the same moment
            after_s = expected_s * random.uniform(0.75, 1.25)  # noqa: S311 - no secret
            self._timer = asyncio.get_running_loop().call_later(after_s, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self.release(self._probes)
        self._probes = min(2 * self._probes, PROBES)
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

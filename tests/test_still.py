"""No timeout of a test's passes while its process stands still, and all others do."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest

from tests.still import LONGEST_S, StillLoop

Wait = Callable[[], Awaitable[object]]


async def stand_still() -> None:
    async with asyncio.timeout(2 * LONGEST_S):
        time.sleep(3 * LONGEST_S)  # noqa: ASYNC251 - as if the machine had stopped us
        await asyncio.sleep(0.01)


async def wait_in_vain() -> None:
    async with asyncio.timeout(0.1):
        await asyncio.Event().wait()


def run(loop: Callable[[], asyncio.AbstractEventLoop], wait: Wait) -> None:
    async def waiting() -> None:
        await wait()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(waiting())


def test_no_timeout_passes_while_the_process_stands_still() -> None:
    run(StillLoop, stand_still)


def test_control_by_the_usual_clock_it_has_passed() -> None:
    with pytest.raises(TimeoutError):
        run(asyncio.SelectorEventLoop, stand_still)


def test_one_that_has_passed_is_noticed() -> None:
    with pytest.raises(TimeoutError):
        run(StillLoop, wait_in_vain)


async def test_tests_run_by_this_clock() -> None:
    assert isinstance(asyncio.get_running_loop(), StillLoop)

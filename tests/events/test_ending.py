import asyncio

import pytest

from events import ending
from events.ending import end


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ending, "AGAIN_S", 0.01)


class Waiting:
    """Waits for one thing after the other, as clients of servers do."""

    def __init__(self) -> None:
        self.came = asyncio.get_running_loop().create_future()

    async def run(self) -> None:
        while True:
            await asyncio.wait_for(self.came, timeout=60)
            self.came = asyncio.get_running_loop().create_future()


async def test_who_is_cancelled_just_as_an_answer_comes_ends_as_well() -> None:
    waiting = Waiting()
    task = asyncio.create_task(waiting.run())
    await asyncio.sleep(0)

    waiting.came.set_result(None)
    await end([task])

    assert task.cancelled()


async def test_all_end_and_what_has_failed_or_is_done_is_left_as_it_is() -> None:
    async def fail() -> None:
        raise ValueError("broken")

    async def sleep() -> None:
        await asyncio.sleep(60)

    failed, asleep = asyncio.create_task(fail()), asyncio.create_task(sleep())
    await asyncio.sleep(0)

    await end([failed, asleep])

    assert asleep.cancelled()
    with pytest.raises(ValueError, match="broken"):
        await failed


async def test_none_is_ended_at_once() -> None:
    await end([])

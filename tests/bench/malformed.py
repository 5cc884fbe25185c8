"""A hundred thousand malformed requests, and what they cost those who are well-behaved.

`python -m tests.bench.malformed 100000 7` sends so many, made from that seed.
"""

import asyncio
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Final

from tests.bench.table import print_table
from tests.system.malformed import Generator
from tests.system.storm import Storm, memory_of, targets_of
from tests.system.town import a_town
from tests.waiting import until

REQUESTS: Final = 100_000
WARM: Final = 2_000
MIB: Final = 2**20


async def measure_malformed(requests: int = REQUESTS, seed: int = 1) -> None:
    """Send them to one edge with a worker, and look at it before and after.

    Raises:
        AssertionError: the edge answered one with 500 or more, or a healthy one with anything
            but 200.
    """
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        async with a_town(Path(folder) / "home") as town:
            caller, charge = await town.tenant("cleo"), await town.tenant("char")
            generator = Generator(await targets_of(town, caller, charge), seed)
            storm = Storm(town.system.url, generator, caller.headers)
            pid = int((town.system.home / "run" / "edge.pid").read_text())
            broken = await storm.broken()
            await storm.rage(WARM)
            before, began = memory_of(pid), time.monotonic()
            await storm.rage(requests)
            ended = time.monotonic()
            left = storm.open()
            await until(lambda: storm.open() == 0)
            closed_s = time.monotonic() - ended
            after = memory_of(pid)
            storm.hang_up()
            broken = await storm.broken() - broken
            rows = [
                ["malformed requests", f"{requests:,} in {ended - began:,.0f} s"],
                ["answered, while callers waited", _shares(storm.answered)],
                ["answered with 500 and more", str(broken.total())],
                ["healthy requests meanwhile", _shares(storm.healthy)],
                ["open at the end, and none after", f"{left}, {closed_s:.1f} s"],
                ["memory of the edge, MiB", f"{before / MIB:.0f} before, {after / MIB:.0f} after"],
            ]
            print_table(f"Malformed requests, seed {seed}", ["what", "how many"], rows)
            assert not storm.found, storm.found
            assert not broken, broken
            assert set(storm.healthy) == {200}


def _shares(counted: Counter[int]) -> str:
    return ", ".join(f"{status}: {times:,}" for status, times in sorted(counted.items()))


if __name__ == "__main__":
    asyncio.run(measure_malformed(*map(int, sys.argv[1:])))

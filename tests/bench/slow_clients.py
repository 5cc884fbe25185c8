"""What a thousand slow clients do to the healthy ones, and how soon they are gone."""

import asyncio
import resource
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from msgspec import Struct

from tests.bench import wrk
from tests.bench.road import BODY, PATH, make_keys
from tests.bench.table import print_table
from tests.bench.wrk import Measured
from tests.system.system import echoing

CLIENTS: Final = 1_000
CONNECTIONS: Final = 16
ROUNDS: Final = 3
ARRIVE_S: Final = 3  # a thousand in one instant would be another attack
SECONDS: Final = 16  # longer than any of them may stay
MOST_S: Final = 60  # then a client gives up
FILES: Final = 8_192
HEAD: Final = b"POST %s HTTP/1.1\r\nHost: x\r\n" % PATH.encode()
LARGE: Final = b"GET /docs/assets/swagger-ui-bundle.js HTTP/1.1\r\nHost: x\r\n\r\n"


class Gone(Struct, frozen=True):
    """How one slow client ended."""

    kind: str
    stayed_s: float


class Slow(asyncio.Protocol):
    """A connection that is not read, or not soon, and knows when it is closed."""

    def __init__(self, at_once: bytes, *, reads: bool) -> None:
        self.closed = asyncio.Event()
        self._at_once = at_once
        self._reads = reads

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        if not self._reads:
            transport.pause_reading()
        transport.write(self._at_once)

    def connection_lost(self, _: Exception | None) -> None:
        self.closed.set()


async def measure_slow_clients() -> None:
    """Print the tables."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(FILES, most), most))
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        async with echoing(home) as system:
            keys = await make_keys(system)
            script = wrk.script(home, "healthy", keys=keys, path=PATH, body=BODY)
            port = urlsplit(system.url).port
            assert port is not None
            await wrk.run(system.url, script, connections=CONNECTIONS, seconds=3)
            alone, beside, gone = [], [], list[Gone]()
            for _ in range(ROUNDS):
                alone.append(await _healthy(system.url, script))
                found, ended = await asyncio.gather(
                    _healthy(system.url, script), _slow(port, keys[0])
                )
                beside.append(found)
                gone += ended
    _print(alone, beside)
    _print_gone(gone)


async def _healthy(url: str, script: Path) -> Measured:
    measured = await wrk.run(url, script, connections=CONNECTIONS, seconds=SECONDS)
    assert measured.refused == measured.broken == 0, measured
    return measured


async def _slow(port: int, key: str) -> Sequence[Gone]:
    """A thousand at once: what each sends, and then byte by byte."""
    authorized = HEAD + f"Authorization: Bearer {key}\r\n".encode()
    kinds: Mapping[str, tuple[bytes, bytes]] = {
        "silent": (b"", b""),
        "a byte of the head a second": (b"", HEAD + b"X-A: " + b"a" * MOST_S),
        "a byte of the body a second": (
            authorized + b"Content-Length: 1000\r\n\r\n",
            b"x" * MOST_S,
        ),
        "reads nothing of 4 MB": (LARGE * 3, b"\r\n" * MOST_S),
    }
    listed = list(kinds.items())
    async with asyncio.TaskGroup() as tasks:
        running = [
            tasks.create_task(_one(port, kind, at_once, then, ARRIVE_S * number / CLIENTS))
            for number, (kind, (at_once, then)) in enumerate(listed * (CLIENTS // len(listed)))
        ]
    return [task.result() for task in running]


async def _one(port: int, kind: str, at_once: bytes, then: bytes, after_s: float) -> Gone:
    """Connect, be slow, and see when the server has had enough."""
    await asyncio.sleep(after_s)
    reads = not kind.startswith("reads nothing")
    loop = asyncio.get_running_loop()
    transport, client = await loop.create_connection(
        lambda: Slow(at_once, reads=reads), "127.0.0.1", port
    )
    began = time.monotonic()
    for second in range(MOST_S):
        if then:
            transport.write(then[second : second + 1])
        with suppress(TimeoutError):
            async with asyncio.timeout(1):
                await client.closed.wait()
                break
    stayed_s = time.monotonic() - began
    transport.abort()
    return Gone(kind, stayed_s)


def _print(alone: Sequence[Measured], beside: Sequence[Measured]) -> None:
    rows = [
        (
            name,
            f"{statistics.median(run.rate for run in runs):,.0f}",
            f"{statistics.median(run.p50 for run in runs):.1f}",
            f"{statistics.median(run.p99 for run in runs):.1f}",
        )
        for name, runs in (("alone", alone), (f"beside {CLIENTS:,} slow ones", beside))
    ]
    ratios = [slow.p99 / fast.p99 for slow, fast in zip(beside, alone, strict=True)]
    print_table(
        f"Healthy clients, {CONNECTIONS} connections, median of {ROUNDS} interleaved runs of "
        f"{SECONDS} s; p99 {statistics.median(ratios):.2f} times "
        f"({min(ratios):.2f} to {max(ratios):.2f})",
        ("", "requests/s", "p50 ms", "p99 ms"),
        rows,
    )


def _print_gone(gone: Sequence[Gone]) -> None:
    rows = []
    for kind in dict.fromkeys(one.kind for one in gone):
        times = [one.stayed_s for one in gone if one.kind == kind]
        median = f"{statistics.median(times):.1f}"
        rows.append((kind, f"{len(times):,}", median, f"{max(times):.1f}"))
    print_table(
        f"Slow clients, {CLIENTS:,} in each of {ROUNDS} runs: seconds until they are closed",
        ("", "clients", "median", "last"),
        rows,
    )


if __name__ == "__main__":
    wrk.install()
    asyncio.run(measure_slow_clients())

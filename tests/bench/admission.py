"""What a decision costs that needs no question, and what knowing many accounts takes."""

import asyncio
import gc
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from limits import (
    RateLimitItem,
    RateLimitItemPerDay,
    RateLimitItemPerHour,
    RateLimitItemPerMinute,
)
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter

from deploy.local.nats import Nats
from deploy.local.ports import free_port
from edge.accounts import Accounts
from edge.admission import Admission
from edge.auth import Caller
from edge.plans import RunningPlans
from events import broker, streams
from events.accounts import Account, ApiKey
from events.direct import Direct
from events.ids import new_id
from events.usage import Quantities
from ledger.api_keys import Found
from ledger.db import create_pool
from tests.bench.table import print_table

DECISIONS: Final = 20_000
ROUNDS: Final = 9
KNOWN: Final = 100_000
ONE: Final = Quantities()
MINUTE: Final = RateLimitItemPerMinute(1_000_000_000)
HOUR: Final = RateLimitItemPerHour(1_000_000_000)
DAY: Final = RateLimitItemPerDay(1_000_000_000)
_MINUTE: Final = """
[[plan.policy]]
name = "minute"
unit = "requests"
limit = 1_000_000_000
window = "minute"
"""
_MORE: Final = _MINUTE.replace("minute", "hour") + _MINUTE.replace("minute", "day")
PLANS: Final = f"""
[[plan]]
name = "default"
{_MINUTE}
[[plan]]
name = "four"
concurrency = 1_000
{_MINUTE}{_MORE}
"""


def a_caller(plan: str) -> Caller:
    account_id, now = new_id(), datetime.now(UTC)
    account = Account(id=account_id, name="bench", created_at=now, plan=plan)
    return Caller(
        account, ApiKey(id=str(account_id), account_id=account_id, name="", created_at=now)
    )


@asynccontextmanager
async def admitting() -> AsyncIterator[Admission]:
    """An edge's admission on a broker of its own."""
    with tempfile.TemporaryDirectory() as folder, Nats(Path(folder) / "nats", free_port()) as nats:
        connection = await broker.connect(nats.url, "bench")
        await streams.prepare(connection, streams.Sizes())
        direct = Direct(connection)
        await direct.start()
        plans = Path(folder) / "plans.toml"
        plans.write_text(PLANS)
        pool = create_pool("postgresql://127.0.0.1:1/nothing")  # nothing is asked of it here
        admission = Admission(connection, direct, pool, RunningPlans(plans), hold_s=45)
        running = asyncio.create_task(admission.run())
        await asyncio.sleep(0)
        try:
            yield admission
        finally:
            running.cancel()
            await connection.close()


async def _decide(admission: Admission, callers: Sequence[Caller]) -> Sequence[float]:
    """Seconds of each of many decisions."""
    clock = time.perf_counter
    took = []
    for number in range(DECISIONS):
        request_id = new_id()
        began = clock()
        admitted = await admission.admit(
            callers[number % len(callers)], "model", "task", request_id, lambda: ONE
        )
        took.append(clock() - began)
        admitted.end()
        if number % 500 == 0:
            await asyncio.sleep(0)  # as an edge would: what is asked for ahead must arrive
    return took


def _hit(hit: Callable[[RateLimitItem, str], object], names: Sequence[str]) -> Sequence[float]:
    clock = time.perf_counter
    took = []
    for number in range(DECISIONS):
        name = names[number % len(names)]
        began = clock()
        hit(MINUTE, name)
        took.append(clock() - began)
    return took


def _hit_three(
    hit: Callable[[RateLimitItem, str], object], names: Sequence[str]
) -> Sequence[float]:
    clock = time.perf_counter
    took = []
    for number in range(DECISIONS):
        name = names[number % len(names)]
        began = clock()
        _ = hit(MINUTE, name) and hit(HOUR, name) and hit(DAY, name)
        took.append(clock() - began)
    return took


async def measure_decisions() -> None:
    """Print the table: rates are of the decisions alone, by the clock around each."""
    limiter = FixedWindowRateLimiter(MemoryStorage())
    names = [str(new_id()) for _ in range(10)]
    async with admitting() as admission:
        callers = {plan: [a_caller(plan) for _ in range(10)] for plan in ("default", "four")}
        for some in callers.values():
            for _ in range(5):  # until what is taken ahead lasts
                await _decide(admission, some)
        rounds: dict[str, list[Sequence[float]]] = {
            "limits 5.8, fixed window in memory, one limit": [],
            "from a held lease, one limit": [],
            "limits 5.8, three limits": [],
            "from held leases, three limits and concurrency": [],
        }
        library, one, three, four = rounds.values()
        gc.collect()
        for _ in range(ROUNDS):
            library.append(_hit(limiter.hit, names))
            three.append(_hit_three(limiter.hit, names))
            one.append(await _decide(admission, callers["default"]))
            four.append(await _decide(admission, callers["four"]))
    base = statistics.median(DECISIONS / sum(took) for took in library)
    rows = []
    for name, runs in rounds.items():
        rate = statistics.median(DECISIONS / sum(took) for took in runs)
        p99 = statistics.median(sorted(took)[int(DECISIONS * 0.99)] for took in runs)
        rows.append((name, f"{rate:,.0f}", f"{rate / base:.1f}", f"{p99 * 1e6:.1f}"))
    print_table(
        f"Decisions in one process, median of {ROUNDS} interleaved rounds of {DECISIONS:,}",
        ("", "decisions/s", "of `limits`", "p99 µs"),
        rows,
    )


def measure_memory() -> None:
    """Print what a hundred thousand known accounts take, each with a key and its limits."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.admission", "memory"],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    print(done.stdout)


async def _fill() -> None:
    async with admitting() as admission:
        # the last two of an edge's parts are what is asked of them: no broker, no ledger
        accounts = Accounts.__new__(Accounts)
        accounts._accounts, accounts._keys, accounts._unknown = {}, {}, {}  # noqa: SLF001 - see above
        accounts._fresh_until = float("inf")  # noqa: SLF001 - likewise
        before = _resident()
        for _ in range(KNOWN):
            digest = random.randbytes(32)
            caller = a_caller("default")
            accounts._keep(digest, Found(caller.account, caller.key), 0.0)  # noqa: SLF001 - likewise
        known = _resident()
        for account in list(accounts._accounts.values())[: KNOWN // 10]:  # noqa: SLF001 - likewise
            key = ApiKey(
                id=str(account.id), account_id=account.id, name="", created_at=account.created_at
            )
            await admission.admit(Caller(account, key), "model", "task", new_id(), lambda: ONE)
        active = _resident()
    print(
        f"{KNOWN:,} accounts with a key each: {(known - before) / 2**20:.0f} MiB; "
        f"limits of {KNOWN // 10:,} of them in use: {(active - known) / 2**20:.0f} MiB more"
    )


def _resident() -> int:
    """Bytes of this process in memory."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4_096


if __name__ == "__main__":
    if sys.argv[1:] == ["memory"]:
        asyncio.run(_fill())
    else:
        asyncio.run(measure_decisions())
        measure_memory()

"""Consumers as processes of their own, on a stream that is full already."""

import asyncio
import os
import sys
import time
from collections.abc import Mapping

from ledger.db import Connection


async def drain(
    connection: Connection,
    query: str,
    environment: Mapping[str, str],
    *,
    consumers: int,
    events: int,
) -> float:
    """Start consumers as `tollgate consume`, wait until they are through, and end them.

    Args:
        connection: To their ledger.
        query: Counts the events that are there; 0 before the first.
        environment: Of theirs, beside our own.
        consumers: How many.
        events: How many there will be.

    Returns:
        Events a second, from the first commit to the last.
    """
    processes = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "deploy.cli", "consume"),
            env={**os.environ, **environment},
            stdout=asyncio.subprocess.DEVNULL,  # a line for each plan that follows
            stderr=asyncio.subprocess.DEVNULL,
        )
        for _ in range(consumers)
    ]
    try:
        count = 0
        while not (count := await connection.fetchval(query)):
            await asyncio.sleep(0.005)
        started, first = time.perf_counter(), count
        while (count := await connection.fetchval(query)) < events:
            await asyncio.sleep(0.05)
        return float((events - first) / (time.perf_counter() - started))
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            await process.wait()

"""`make demo-billing`: one customer's story, with the ledger shown at each step."""

import asyncio
import tempfile
from pathlib import Path

from rich.console import Console

from tests.demo.story import tell


async def run() -> None:
    with tempfile.TemporaryDirectory(prefix="tollgate-demo-") as folder:
        await tell(Path(folder) / "home", Console())


asyncio.run(run())

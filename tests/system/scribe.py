"""A worker process that is whole but for its model, a scribe's: python -m tests.system.scribe."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from deploy.serve import run_worker
from events.models import ModelDeclared
from inference import models
from tests.inference.scribe import Scribe
from tests.waiting import PATIENCE_S

ROOT = Path(__file__).parents[2]
STEP_S = 0.01
DECLARED = """
[[model]]
name = "scribe"
source = "scribe:"
tasks = ["generation"]
"""


def load(_where: str, _declared: ModelDeclared) -> Scribe:
    """As every kind of source has it."""
    scribe = Scribe()
    scribe.pause_s = STEP_S
    return scribe


@asynccontextmanager
async def a_worker(nats_url: str, folder: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """One until the block ends, or it is killed."""
    declared = folder / "scribe.toml"
    declared.write_text(DECLARED)
    with (folder / "scribe.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            __name__,
            cwd=ROOT,
            stdout=log,
            stderr=log,
            env={
                **os.environ,
                "TOLLGATE_NATS_URL": nats_url,
                "TOLLGATE_MODELS_FILE": str(declared),
            },
        )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await asyncio.wait_for(process.wait(), PATIENCE_S)


if __name__ == "__main__":
    models._KINDS["scribe"] = "tests.system.scribe"  # noqa: SLF001 - a kind for tests alone
    run_worker("")

"""A whole Tollgate, started as a user starts it, and what a test may do to it."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path

import asyncpg
import httpx
from msgspec import Struct
from nats.aio.client import Client

from deploy.local.ports import free_port
from events import broker
from tests.broker import PatientClient
from tests.waiting import PATIENCE_S, until

READY_S = 2 * PATIENCE_S
QUIET_S = 2.5  # longer than an edge waits before it sends a unit, or a void, again
ECHO_ONLY = """
[[model]]
name = "echo"
source = "echo:"
tasks = ["echo"]
"""  # a worker without torch and spaCy starts in a second
TOKENS = 20  # that a budget pays for
PLANS = f"""
[[plan]]
name = "by-the-token"
prices = {{ output_tokens = "1000.00" }}
monthly_budget = "{TOKENS / 1_000:.3f}"

[[plan]]
name = "default"
concurrency = 1_000

[[plan.policy]]
name = "minute"
unit = "requests"
limit = 10_000_000
window = "minute"

[[plan.policy]]
name = "hour"
unit = "requests"
limit = 100_000_000
window = "hour"

[[plan.policy]]
name = "day"
unit = "requests"
limit = 1_000_000_000
window = "day"
"""  # the default's limits are met by nobody, and counted all the same
SABOTEUR = Path(__file__).parent / "saboteur"


class System(Struct, kw_only=True):
    """A running system and its particulars, as its ready file gives them."""

    home: Path
    sabotaged: bool
    process: asyncio.subprocess.Process
    url: str
    api_key: str
    account_id: str
    admin_token: str
    nats_url: str
    database_url: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.api_key}"}

    @property
    def admin_headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.admin_token}"}

    def secret(self, name: str) -> str:
        return str(json.loads((self.home / "secrets.json").read_text())[name])

    def client(self, headers: dict[str, str] | None = None) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            base_url=self.url, headers=headers or self.headers, timeout=PATIENCE_S
        )

    async def kill(self, name: str) -> None:
        """kill -9 one of its processes, once it runs; the supervisor starts another."""
        path = self.home / "run" / f"{name}.pid"
        await until(path.exists)
        pid = int(path.read_text())
        os.kill(pid, signal.SIGKILL)

    async def reach_the_moment(self) -> None:
        """Wait until a sabotaged process stands where a kill does its harm."""
        reached = self.home / "reached"
        (self.home / "armed").touch()
        await until(reached.exists)
        reached.unlink()

    async def database(self) -> "asyncpg.Connection[asyncpg.Record]":
        return await asyncpg.connect(self.database_url)

    async def broker(self) -> Client:
        return await broker.connect(self.nats_url, "test", client=PatientClient())

    async def settled(self) -> None:
        """Wait until nothing more comes, and all that came is folded and acknowledged."""
        client = await self.broker()
        try:
            async with asyncio.timeout(PATIENCE_S):
                jetstream, seen = client.jetstream(), None
                while True:
                    stored = (await jetstream.stream_info("USAGE")).state.last_seq
                    floor = (await jetstream.consumer_info("USAGE", "usage_fold")).ack_floor
                    if floor and floor.stream_seq >= stored == seen:
                        return
                    seen = stored
                    await asyncio.sleep(QUIET_S)
        finally:
            await client.close()


def sabotaged(home: Path, sabotage: str) -> dict[str, str]:
    return {
        # the project, too: it is the one beside these tests that is to be broken
        "PYTHONPATH": os.pathsep.join((str(SABOTEUR), str(SABOTEUR.parents[2]))),
        "SABOTAGE": sabotage,
        "SABOTAGE_ARMED": str(home / "armed"),
    }


@asynccontextmanager
async def running(
    home: Path, *, sabotage: str = "", environment: dict[str, str] | None = None
) -> AsyncIterator[System]:
    """`tollgate up` in `home`, until the block ends.

    Args:
        home: Where it keeps its state.
        sabotage: What the saboteur breaks in its processes, to prove that a test sees it.
        environment: Settings that differ from the defaults.
    """
    ready_file = home / "ready.json"
    home.mkdir(parents=True, exist_ok=True)
    plans = home / "plans.toml"
    plans.write_text(PLANS)
    log = (home / "up.log").open("wb")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "deploy.cli",
        "up",
        f"--port={free_port()}",
        f"--home={home}",
        f"--ready-file={ready_file}",
        stdout=log,
        stderr=log,
        start_new_session=True,
        env={
            **os.environ,
            # a shared machine can stand still for longer than a caller would wait
            "TOLLGATE_DEADLINE_S": "200",
            "TOLLGATE_PUBLISH_TIMEOUT_S": "60",
            "TOLLGATE_PLANS_FILE": str(plans),
            **(environment or {}),
            **(sabotaged(home, sabotage) if sabotage else {}),
        },
    )
    try:
        await until(lambda: ready_file.exists() or process.returncode is not None, READY_S)
        assert process.returncode is None, (home / "up.log").read_text()[-4_000:]
        yield System(
            home=home,
            process=process,
            sabotaged=bool(sabotage),
            **json.loads(ready_file.read_text()),
        )
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        await asyncio.wait_for(process.wait(), PATIENCE_S)
        log.close()


def echoing(home: Path, sabotage: str = "") -> AbstractAsyncContextManager[System]:
    """A system with only the echo model: it is the road that is tested."""
    home.mkdir(parents=True)
    models = home / "models.toml"
    models.write_text(ECHO_ONLY)
    return running(home, sabotage=sabotage, environment={"TOLLGATE_MODELS_FILE": str(models)})

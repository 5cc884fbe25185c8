import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from deploy.errors import ChildFailed, NotReady
from deploy.local.locks import locked
from deploy.local.supervisor import Program, Supervisor
from tests.waiting import PATIENCE_S, until

SLEEPS = "import time; print('up', flush=True); time.sleep(600)"
LEAVES_A_CHILD = (
    "import subprocess, sys\n"
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
    "print('child', child.pid, flush=True)\n"
)
STUBBORN = (
    "import signal, time\n"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    "print('up', flush=True)\n"
    "time.sleep(600)\n"
)
FAREWELL = (
    "import signal, sys, time\n"
    "signal.signal(signal.SIGTERM, lambda *_: sys.exit(print('bye', flush=True)))\n"
    "print('up', flush=True)\n"
    "time.sleep(600)\n"
)


def python(name: str, code: str, *, drain_s: float = 30.0) -> Program:
    return Program(name=name, argv=[sys.executable, "-c", code], drain_s=drain_s)


class Family:
    """A supervisor, and what its children said."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.said: list[str] = []
        self.children = Supervisor(folder, write=self.said.append)

    def pid(self, name: str) -> int | None:
        path = self.folder / f"{name}.pid"
        return int(path.read_text()) if path.exists() else None

    def heard(self, line: str, *, times: int = 1) -> Callable[[], Awaitable[bool]]:
        async def heard() -> bool:
            return self.said.count(line) >= times

        return heard


@pytest.fixture
async def family(tmp_path: Path) -> AsyncIterator[Family]:
    family = Family(tmp_path / "run")
    async with asyncio.timeout(PATIENCE_S), family.children:
        yield family


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"  # whoever adopts it has not looked yet


async def test_a_child_speaks_under_its_name_and_is_stopped(tmp_path: Path) -> None:
    family = Family(tmp_path / "run")

    async with family.children as children:
        children.start(python("edge", FAREWELL))
        await children.until(family.heard("edge | up"), "the edge")
        pid = family.pid("edge")
        assert pid is not None
        assert is_alive(pid)

    assert family.said == ["edge | up", "edge | bye"]
    assert not is_alive(pid)
    assert list(family.folder.iterdir()) == []


async def test_a_killed_child_is_started_again(family: Family) -> None:
    family.children.start(python("edge", SLEEPS))
    await family.children.until(family.heard("edge | up"), "the edge")
    first = family.pid("edge")
    assert first is not None

    os.kill(first, signal.SIGKILL)
    await until(lambda: family.said.count("edge | up") == 2)

    assert family.pid("edge") != first
    assert "edge | was ended by SIGKILL; starting it again in 0.2 s" in family.said


async def test_children_stop_in_the_opposite_order_of_their_start(tmp_path: Path) -> None:
    family = Family(tmp_path)
    async with family.children as children:
        for name in ("server", "worker", "edge"):
            children.start(python(name, FAREWELL))
            await children.until(family.heard(f"{name} | up"), name)

    assert family.said[3:] == ["edge | bye", "worker | bye", "server | bye"]
    assert list(family.folder.iterdir()) == []


async def test_a_child_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    family = Family(tmp_path)
    async with asyncio.timeout(PATIENCE_S), family.children as children:
        children.start(python("edge", STUBBORN, drain_s=0.1))
        await children.until(family.heard("edge | up"), "the edge")
        pid = family.pid("edge")

    assert pid is not None
    assert not is_alive(pid)


async def test_what_a_child_leaves_behind_is_ended(family: Family) -> None:
    await family.children.run(python("once", LEAVES_A_CHILD))

    grandchild = int(family.said[0].split()[-1])
    await until(lambda: not is_alive(grandchild))


def start_python(*arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", *arguments])


async def test_children_die_with_their_supervisor(tmp_path: Path) -> None:
    code = (
        "import asyncio, sys\n"
        "from pathlib import Path\n"
        "from deploy.local.supervisor import Program, Supervisor\n"
        "async def main():\n"
        "    async with Supervisor(Path(sys.argv[1]), write=print) as children:\n"
        f"        children.start(Program(name='edge', argv=[sys.executable, '-c', {SLEEPS!r}]))\n"
        "        await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    parent = start_python(code, str(tmp_path))
    path = tmp_path / "edge.pid"
    await until(path.exists)
    child = int(path.read_text())

    parent.kill()
    parent.wait()

    await until(lambda: not is_alive(child))


async def test_waiting_ends_when_a_child_fails(family: Family) -> None:
    family.children.start(python("edge", "raise SystemExit(3)"))

    with pytest.raises(ChildFailed, match="edge ended with status 3"):
        await family.children.until(family.heard("never"), "the edge")


async def test_waiting_ends_when_a_child_cannot_be_started(family: Family) -> None:
    family.children.start(
        Program(name="edge", argv=["x"], prepare=lambda: Path("/nowhere/at/all").touch())
    )

    with pytest.raises(ChildFailed, match="edge could not be started"):
        await family.children.until(family.heard("never"), "the edge")


async def test_waiting_is_bounded(family: Family) -> None:
    family.children.start(python("edge", SLEEPS))

    with pytest.raises(NotReady, match="the moon"):
        await family.children.until(family.heard("never"), "the moon", within_s=0.1)


async def test_a_program_that_fails_is_an_error(family: Family) -> None:
    with pytest.raises(ChildFailed, match="migrate ended with status 1, saying: no"):
        await family.children.run(python("migrate", "raise SystemExit('no')"))

    assert family.said == ["migrate | no"]


async def test_a_very_long_line_is_passed_on_in_pieces(family: Family) -> None:
    await family.children.run(python("edge", "print('x' * 1_000_000)"))

    assert sum(line.count("x") for line in family.said) == 1_000_000


async def test_a_lock_is_held_until_the_child_has_ended(family: Family, tmp_path: Path) -> None:
    path = tmp_path / "server.lock"
    program = Program(name="server", argv=[sys.executable, "-c", SLEEPS], lock=path)
    family.children.start(program)
    await family.children.until(family.heard("server | up"), "the server")

    with pytest.raises(Exception, match="still held"), locked(path, within_s=0):
        pass
    await family.children.stop("server")
    with locked(path, within_s=0):
        pass

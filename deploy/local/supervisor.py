"""Processes that belong together: started, watched, started again, and stopped."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from msgspec import Struct

from deploy.errors import ChildFailed, DeployError, NotReady
from deploy.local.locks import acquire
from deploy.local.mortality import dying_with_us
from deploy.local.server import RELEASE_S, START_S, Server

POLL_S: Final = 0.05
FIRST_PAUSE_S: Final = 0.2  # before the first restart; doubles with each
LONGEST_PAUSE_S: Final = 10.0
STEADY_S: Final = 30.0  # a child that ran this long starts with the first pause again
LAST_WORDS_S: Final = 1.0  # to read what an ended child had written
LINE_BYTES: Final = 65_536  # a longer line is cut


def _nothing() -> None:
    pass


class Program(Struct, frozen=True, kw_only=True):
    """What to run, and how to end it."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str] | None = None  # None: ours
    as_user: Sequence[str] = ()  # see deploy.local.mortality
    stop_signal: signal.Signals = signal.SIGTERM
    drain_s: float = 30.0  # from the stop signal to SIGKILL; longer than any child's own
    prepare: Callable[[], None] = _nothing  # in a thread, before each start
    lock: Path | None = None  # held while the child, or a child of its own, lives

    @classmethod
    def of(cls, server: Server) -> Self:
        """The program that a local server is."""
        server.home.mkdir(parents=True, exist_ok=True)  # who may enter it decides on its user
        return cls(
            name=server.name,
            argv=server.argv,
            as_user=server.as_user,
            stop_signal=server.stop_signal,
            prepare=server.prepare,
            lock=server.lock,
        )


class _Child:
    """One program, over all of its runs."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.process: asyncio.subprocess.Process | None = None
        self.stopping = asyncio.Event()
        self.ended = asyncio.Event()  # for good
        self.last_end: str | None = None  # how it ended when it should not have
        self.last_words = ""


class Supervisor:
    """Runs programs until the block ends, then stops them, the youngest first.

    ::

        async with Supervisor(home / "run") as children:
            children.start(Program(name="edge", argv=[...]))
            await children.until(edge_answers, "the edge", within_s=30)

    A child that ends by itself is started again, after a pause that grows. Each runs
    in a session of its own, so Ctrl-C reaches only us, and dies with us in any case.

    Args:
        run: Where the children's pid files are kept.
        write: Given each line that a child says, after its name and a bar.
    """

    def __init__(self, run: Path, *, write: Callable[[str], None]) -> None:
        self._run_folder = run
        self._write = write
        self._children: dict[str, _Child] = {}
        self._tasks = asyncio.TaskGroup()

    async def __aenter__(self) -> Self:
        self._run_folder.mkdir(parents=True, exist_ok=True)
        for stale in self._run_folder.glob("*.pid"):  # of a run that was killed
            stale.unlink()
        await self._tasks.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            await self.stop(*reversed(self._children))
        finally:
            # the block's own error is not the group's: it goes on as it is
            await self._tasks.__aexit__(None, None, None)

    def start(self, program: Program) -> None:
        """Start a program and keep it running."""
        child = self._children[program.name] = _Child(program)
        self._tasks.create_task(self._keep(child), name=program.name)

    async def run(self, program: Program) -> None:
        """Run a program to its end.

        Raises:
            ChildFailed: it ended with an error.
        """
        child = _Child(program)
        ending = await self._run_once(child)
        if ending != _SUCCESS:
            raise ChildFailed(program.name, ending, child.last_words)

    async def stop(self, *names: str) -> None:
        """Stop children, one after the other."""
        for name in names:
            child = self._children[name]
            child.stopping.set()
            await child.ended.wait()
            del self._children[name]

    async def until(
        self, ready: Callable[[], Awaitable[bool]], what: str, *, within_s: float = START_S
    ) -> None:
        """Wait for something that the children bring about.

        Raises:
            ChildFailed: one of them ended instead, since it was started.
            NotReady: it took too long.
        """
        until = time.monotonic() + within_s
        while not await ready():
            for child in self._children.values():
                if child.last_end is not None:
                    raise ChildFailed(child.program.name, child.last_end, child.last_words)
            if time.monotonic() > until:
                raise NotReady(what, within_s)
            await asyncio.sleep(POLL_S)

    async def _keep(self, child: _Child) -> None:
        """Run a child again and again, until it is to stop."""
        name, pause_s = child.program.name, FIRST_PAUSE_S
        try:
            while not child.stopping.is_set():
                started = time.monotonic()
                try:
                    ending = await self._run_once(child)
                except (DeployError, OSError) as error:
                    ending = f"could not be started ({error})"
                if child.stopping.is_set():
                    break
                child.last_end = ending
                if time.monotonic() - started > STEADY_S:
                    pause_s = FIRST_PAUSE_S
                self._write(f"{name} | {ending}; starting it again in {pause_s:g} s")
                with suppress(TimeoutError):
                    await asyncio.wait_for(child.stopping.wait(), pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        finally:
            child.ended.set()

    async def _run_once(self, child: _Child) -> str:
        """Run a child until it ends, by itself or because it is to stop.

        Returns:
            How it ended, as a phrase for people.
        """
        program = child.program
        locks = []
        if program.lock is not None:
            program.lock.parent.mkdir(parents=True, exist_ok=True)
            locks.append(await asyncio.to_thread(acquire, program.lock, within_s=RELEASE_S))
        output, its_output = os.pipe()
        try:
            await asyncio.to_thread(program.prepare)
            process = await asyncio.create_subprocess_exec(
                *dying_with_us(program.argv, as_user=program.as_user),
                env=program.env,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=its_output,
                stderr=its_output,
                pass_fds=locks,
                start_new_session=True,
            )
        except BaseException:
            os.close(output)
            raise
        finally:
            for descriptor in (its_output, *locks):
                os.close(descriptor)
        child.process = process
        with self._pid_file(program.name, process.pid):
            await self._attend(child, process, output)
        return _phrase(await process.wait())

    async def _attend(
        self, child: _Child, process: asyncio.subprocess.Process, output: int
    ) -> None:
        """Pass on what a child says until it has ended; end it when it is to stop."""
        try:
            async with asyncio.TaskGroup() as tasks:
                reading = tasks.create_task(self._forward(child, output))
                stopping = tasks.create_task(_end_when_told(child, process))
                await process.wait()
                stopping.cancel()
                # what it started may live on, and keep the pipe open
                await asyncio.wait([reading], timeout=LAST_WORDS_S)
                reading.cancel()
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()

    async def _forward(self, child: _Child, output: int) -> None:
        reader = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(output, "rb")
        )
        try:
            async for line in _lines(reader):
                self._write(f"{child.program.name} | {line}")
                child.last_words = line.strip() or child.last_words
        finally:
            transport.close()

    @contextmanager
    def _pid_file(self, name: str, pid: int) -> Iterator[None]:
        path = self._run_folder / f"{name}.pid"
        part = path.with_suffix(".part")
        part.write_text(f"{pid}\n")
        part.rename(path)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


async def _lines(reader: asyncio.StreamReader) -> AsyncIterator[str]:
    """What is read, line by line; a line without end comes in pieces."""
    rest = b""
    while chunk := await reader.read(LINE_BYTES):
        *lines, rest = (rest + chunk).split(b"\n")
        if len(rest) > LINE_BYTES:
            lines, rest = [*lines, rest], b""
        for line in lines:
            yield line.decode(errors="replace")
    if rest:
        yield rest.decode(errors="replace")


async def _end_when_told(child: _Child, process: asyncio.subprocess.Process) -> None:
    """Signal a child once it is to stop, and kill it when it does not end in time."""
    await child.stopping.wait()
    with suppress(ProcessLookupError):
        process.send_signal(child.program.stop_signal)
        await asyncio.sleep(child.program.drain_s)
        process.kill()


_SUCCESS: Final = "ended with status 0"


def _phrase(status: int) -> str:
    if status < 0:
        return f"was ended by {signal.Signals(-status).name}"
    return f"ended with status {status}"

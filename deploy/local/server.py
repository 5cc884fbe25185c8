"""What the local servers have in common."""

import os
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Final, Self

from deploy.errors import ServerUnavailable
from deploy.local.locks import acquire
from deploy.local.mortality import dying_with_us

POLL_S: Final = 0.02
START_S: Final = 180.0  # recovery after a kill -9 included, on a machine that others starve
STOP_S: Final = 20.0
RELEASE_S: Final = 10.0  # for what is left of a killed server to let go of its files


class Server(ABC):
    """One server on a port of the loopback interface, with its files in a folder.

    `tollgate up` gives it to a supervisor. Tests and benchmarks start it themselves::

        with Nats(folder, free_port()) as nats:
            ... nats.url ...
    """

    name: ClassVar[str]
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM

    def __init__(self, home: Path, port: int) -> None:
        self.home = home.resolve()
        self.port = port
        self._process: subprocess.Popen[bytes] | None = None

    @property
    @abstractmethod
    def argv(self) -> Sequence[str]:
        """The server in the foreground, as a command."""

    @property
    def as_user(self) -> Sequence[str]:
        """What to put before the command so that it runs as another user."""
        return ()

    @property
    def lock(self) -> Path:
        """Held by the server and all that it started, as long as one of them lives."""
        return self.home / "server.lock"

    @abstractmethod
    def prepare(self) -> None:
        """Make the files that the server needs; blocks, and changes nothing twice."""

    @abstractmethod
    def answers(self) -> bool:
        """Whether it accepts a client now; blocks for a second at most."""

    @property
    def pid(self) -> int:
        """The process that `start` started."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> Self:
        """Start it and wait until it accepts clients; its output goes to a file.

        Raises:
            ServerUnavailable: it cannot run here, or ended; the file says more.
            StillInUse: another server runs on these files.
        """
        self.home.mkdir(parents=True, exist_ok=True)
        lock = acquire(self.lock, within_s=RELEASE_S)
        output = self.home / "server.log"
        try:
            self.prepare()
            with output.open("ab") as log:
                self._process = subprocess.Popen(
                    dying_with_us(self.argv, as_user=self.as_user),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=[lock],
                    start_new_session=True,
                )
        finally:
            os.close(lock)
        until = time.monotonic() + START_S
        while not self.answers():
            if self._process.poll() is not None or time.monotonic() > until:
                self.stop()
                raise ServerUnavailable(self.name, "does not come up", f"see {output}")
            time.sleep(POLL_S)
        return self

    def stop(self) -> None:
        """Stop it and wait until it has ended; nothing where it does not run."""
        if self._process is None:
            return
        self._process.send_signal(self.stop_signal)
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None

    def kill(self) -> None:
        """End it as a power cut would: SIGKILL, and what it had not synced is at risk."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

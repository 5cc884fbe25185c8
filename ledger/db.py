"""Connections to PostgreSQL, with a bound on every wait.

JSON stays text: no codec is set, so ``jsonb`` columns come and go as `str`, and
what Stripe sent is not parsed and written anew on its way.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import asyncpg
from asyncpg.connect_utils import SessionAttribute
from asyncpg.pool import PoolConnectionProxy

from ledger.errors import LedgerUnavailable, RefusedByLedger

if TYPE_CHECKING:
    Pool = asyncpg.Pool[asyncpg.Record]
    Connection = asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]
else:  # generic in the stubs alone, and handlers' annotations are read at run time
    Pool = asyncpg.Pool
    Connection = asyncpg.Connection | PoolConnectionProxy

CONNECT_S: Final = 3.0
ACQUIRE_S: Final = 5.0
COMMAND_S: Final = 10.0  # the client's patience; the server's is shorter, so that it speaks first
_SERVER: Final = {
    "application_name": "tollgate",
    "statement_timeout": "8s",
    "lock_timeout": "4s",
    "idle_in_transaction_session_timeout": "10s",
    "timezone": "UTC",
    "jit": "off",  # compiling takes longer than any query of ours
}

_REFUSED: Final = (
    asyncpg.DataError,
    asyncpg.IntegrityConstraintViolationError,
    asyncpg.ProgramLimitExceededError,  # JSON nested too deeply, a key too long for its index
)
_AWAY: Final = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InsufficientResourcesError,
    asyncpg.InternalClientError,
    asyncpg.LockNotAvailableError,
    asyncpg.OperatorInterventionError,
    asyncpg.PostgresConnectionError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.TransactionRollbackError,
)


def create_pool(url: str, *, minimum: int = 0, maximum: int = 4) -> Pool:
    """A pool that opens its connections when they are wanted; enter or await it first.

    With no minimum nothing is opened here, so a process starts and answers while
    PostgreSQL is away. After a failover a server that only reads is passed over.
    """
    return asyncpg.create_pool(
        url,
        min_size=minimum,
        max_size=maximum,
        timeout=CONNECT_S,
        command_timeout=COMMAND_S,
        server_settings=_SERVER,
        target_session_attrs=SessionAttribute.read_write,
    )


@asynccontextmanager
async def acquire(pool: Pool, *, timeout_s: float = ACQUIRE_S) -> AsyncIterator[Connection]:
    """Borrow a connection, and sort what goes wrong on it by what to do about it.

    Raises:
        LedgerUnavailable: try again later.
        RefusedByLedger: never try these values again.
    """
    try:
        async with pool.acquire(timeout=timeout_s) as connection:
            yield connection
    except asyncpg.ReadOnlySQLTransactionError as error:
        await pool.expire_connections()  # a failover: these lead to the demoted server
        raise LedgerUnavailable(str(error)) from error
    except _REFUSED as error:
        raise RefusedByLedger(str(error)) from error
    except _AWAY as error:
        if isinstance(error, ValueError):  # asyncpg's own DataError: it would not even send it
            raise RefusedByLedger(str(error)) from error
        raise LedgerUnavailable(str(error) or repr(error)) from error


@asynccontextmanager
async def only_one(connection: Connection, name: str) -> AsyncIterator[bool]:
    """Whether nobody else does what is called so, in any process, until the block ends.

    The lock is the session's: it goes with a process that dies and with a connection that
    breaks. So what two must not write at once is written on this connection: who has lost
    the lock with it cannot.
    """
    ours = bool(await connection.fetchval("SELECT pg_try_advisory_lock(hashtext($1))", name))
    try:
        yield ours
    finally:
        if ours and not connection.is_closed():
            await connection.execute("SELECT pg_advisory_unlock(hashtext($1))", name)

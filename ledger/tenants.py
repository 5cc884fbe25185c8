"""Reading as one account: whatever a query forgets to say, others' rows are not there.

The role ``tollgate_tenant`` may read two views and nothing else, and the views have the
account's rows alone. They are called like the tables, in a schema of their own: so the
same statement reads either. PostgreSQL's row-level security would be the nearer means, but
TimescaleDB compresses no table that has it.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

from ledger.db import Connection


@asynccontextmanager
async def as_tenant(connection: Connection, account_id: UUID) -> AsyncIterator[None]:
    """See nothing but an account's usage until the block ends; opens a transaction."""
    async with connection.transaction():
        await connection.execute(
            f"SET LOCAL tollgate.account_id = '{account_id}';"
            "SET LOCAL search_path = tenant; SET LOCAL ROLE tollgate_tenant"
        )
        yield

"""`tollgate stripe export`."""

import os
from pathlib import Path
from typing import Final

from deploy.commands.plans import running_plans
from deploy.commands.servers import ask_ledger
from deploy.errors import DeployError
from ledger.db import Connection
from ledger.stripe.exports import write_export

OWNER_ONLY: Final = 0o600  # with the hashes of keys, and webhooks' secrets


class NoFile(DeployError):
    """The file cannot be written, or read."""


def export(file: Path) -> None:
    """Write an export.

    Raises:
        NoFile: it is there already, or cannot be made.
    """

    async def write(connection: Connection) -> int:
        lines = 0
        try:
            opened = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY)
            with os.fdopen(opened, "w") as out:
                async for line in write_export(connection, running_plans().plans):
                    out.write(f"{line}\n")
                    lines += 1
                out.flush()
                os.fsync(out.fileno())
        except OSError as error:
            raise NoFile(f"{file}: {error.strerror}") from error
        return lines

    lines = ask_ledger(write)
    print(f"{file}: {lines - 2:,} records; keep it as you keep secrets: it holds the hashes of API")
    print("keys, customers' names and addresses, and what their webhooks are signed with")

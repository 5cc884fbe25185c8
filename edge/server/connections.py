"""Every connection that is open: how many there may be, and how long each may take.

All are looked at once a second, in place of timers that each request would set and cancel.
"""

import asyncio
import resource
from collections import Counter
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, Protocol

from edge.errors import EdgeFull, TooManyConnections
from edge.server.certificate import read_certificate
from edge.settings import BadSetting, Settings

STATE: Final = "tollgate.connections"  # where the server finds them in the lifespan's state
LOOK_S: Final = 1.0
FILES: Final = 256  # open files that are not callers': NATS, PostgreSQL, logs, models

Network = IPv4Network | IPv6Network


class Connection(Protocol):
    """What `Connections` keeps, and looks at."""

    def look(self, now: float) -> None:
        """See whether it has taken too long, by `Connections.now`."""


class Connections:
    """Those of one process.

    Attributes:
        settings: What they are bound by.
        certificate: What those that are new are encrypted with, if they are.
        now: Seconds, as a clock that stands still while this process does: nobody is cut
            off for what arrived in time and could not be read.

    Raises:
        BadSetting: a certificate cannot be used, or a network is none.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.certificate = read_certificate(settings)
        self.now = 0.0
        self._trusted = _networks(settings.trusted_proxies)
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._most = min(settings.max_connections, files - FILES)
        self._open: dict[Connection, str] = {}
        self._by_address: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._open)

    def join(self, connection: Connection, address: str) -> None:
        """Take one more.

        Args:
            connection: Until it leaves.
            address: The socket's: what a header says counts for nothing here.

        Raises:
            TooManyConnections: its address has as many as it may.
            EdgeFull: there are as many as there may be.
        """
        whose = self._whose(address)
        most = self.settings.max_connections_per_address
        if whose and self._by_address[whose] >= most:
            message = f"this address has {most:,} connections; use them again"
            raise TooManyConnections(message, retry_after_s=1)
        if len(self._open) >= self._most:
            raise EdgeFull(
                "this edge has as many connections as it can; try again", retry_after_s=1
            )
        self._open[connection] = whose
        self._by_address[whose] += 1

    def leave(self, connection: Connection) -> None:
        """Forget one, if it is known."""
        whose = self._open.pop(connection, None)
        if whose is None:
            return
        self._by_address[whose] -= 1
        if not self._by_address[whose]:
            del self._by_address[whose]

    def hand_over(self, old: Connection, new: Connection) -> None:
        """Have another one in the place of one."""
        self._open[new] = self._open.pop(old)

    async def watch(self) -> None:
        """Look at all of them, for ever."""
        loop = asyncio.get_running_loop()
        last = loop.time()
        while True:
            await asyncio.sleep(LOOK_S)
            time = loop.time()
            self.now += min(time - last, 2 * LOOK_S)
            last = time
            for connection in tuple(self._open):
                connection.look(self.now)
            if self.certificate:
                self.certificate.look()

    def _whose(self, address: str) -> str:
        """Under what a connection is counted; empty where nobody counts.

        A household or a server has 2**64 addresses of version 6, so its network is counted.
        Proxies bring everybody's requests, and what comes from this machine is one.
        """
        try:
            ip = ip_address(address.partition("%")[0])
        except ValueError:  # a Unix socket
            return ""
        if isinstance(ip, IPv6Address):
            ip = ip.ipv4_mapped or ip
        if ip.is_loopback or any(ip in network for network in self._trusted):
            return ""
        if isinstance(ip, IPv4Address):
            return str(ip)
        return str(ip_network((ip, 64), strict=False))


def _networks(listed: str) -> Sequence[Network]:
    try:
        return [ip_network(part.strip()) for part in listed.split(",") if part.strip()]
    except ValueError as error:
        raise BadSetting(f"TOLLGATE_TRUSTED_PROXIES: {error}") from error

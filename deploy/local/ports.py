"""Ports for servers on this machine."""

import random
import socket
from typing import Final

# below the range (32768 and up) from which the kernel takes ports for outgoing
# connections: a client that goes on knocking at a stopped server is otherwise given
# that very port one day, connects to itself, and the server cannot come back
PORTS: Final = range(15_000, 32_000)

_given: Final[set[int]] = set()


def is_free(port: int) -> bool:
    """Whether a server could listen on this port of the loopback interface."""
    with socket.socket() as attempt:
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            attempt.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """A port that nobody listens on at this moment, and that was not given out here of late."""
    if len(_given) > len(PORTS) // 2:
        _given.clear()
    while (port := random.choice(PORTS)) in _given or not is_free(port):  # noqa: S311 - not a secret
        pass
    _given.add(port)
    return port

"""Locks that cannot go stale: the kernel lets go when the last holder is gone."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from deploy.errors import StillInUse

POLL_S: Final = 0.02


def acquire(path: Path, *, within_s: float) -> int:
    """Take the lock on a file, which is made if it is not there.

    Returns:
        A file descriptor. Whoever inherits it holds the lock too, so a child that is
        given it keeps the lock until it and all of its own children have ended.

    Raises:
        StillInUse: somebody else held it all that time.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    until = time.monotonic() + within_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() < until:
                time.sleep(POLL_S)
                continue
            os.close(descriptor)
            raise StillInUse(path, within_s) from None
        return descriptor


@contextmanager
def locked(path: Path, *, within_s: float) -> Iterator[int]:
    """Hold the lock on a file for the length of a block.

    Raises:
        StillInUse: somebody else held it all that time.
    """
    descriptor = acquire(path, within_s=within_s)
    try:
        yield descriptor
    finally:
        os.close(descriptor)

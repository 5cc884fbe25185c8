"""What a process holds of bodies that are not all here yet: only so much, whoever sends slowly."""

from collections import Counter
from typing import Final
from uuid import UUID

from edge.errors import EdgeFull

FREE_BYTES: Final = 2**16  # of each body; the server takes as much off each connection anyway
READING_BYTES: Final = 2**28  # of all bodies, beyond that
SHARES: Final = 4  # so many senders have to come together to keep others from sending


class Reading:
    """Counts the bytes that are held, by whose they are.

    Attributes:
        held: Of all.
    """

    def __init__(self) -> None:
        self.held = 0
        self._by_account: Counter[UUID | None] = Counter()

    def hold(self, account_id: UUID | None, size: int, *, limit: int) -> None:
        """Hold `size` bytes more of an account's, or None's: of all who have no key.

        Args:
            account_id: Whose they are.
            size: In bytes.
            limit: Of one body. One that is alone has room, however small the bounds are.

        Raises:
            EdgeFull: there is no room.
        """
        share = max(READING_BYTES // SHARES, limit)
        most = max(READING_BYTES, share)
        if self._by_account[account_id] + size > share or self.held + size > most:
            message = "this edge is reading as many large bodies as it has room for; send it again"
            raise EdgeFull(message, retry_after_s=1)
        self.held += size
        self._by_account[account_id] += size

    def drop(self, account_id: UUID | None, size: int) -> None:
        """Hold them no more: the body is all here, or will not be."""
        self.held -= size
        self._by_account[account_id] -= size
        if not self._by_account[account_id]:
            del self._by_account[account_id]


READING: Final = Reading()  # one: it is the process whose memory it is

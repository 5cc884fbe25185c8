"""How long an answer may wait to be read, on buffers that a test fills and empties."""

from types import SimpleNamespace
from typing import Any

import pytest

from edge.server import http

UNREAD_S = 8
HIGH, LOW = 2**16, 2**14  # bytes of ours at which a stream is held back, and goes on


class Stream:
    """An answer that is made, sent and read at so many bytes a second, as the server sees it."""

    def __init__(self, *, made: int, read: int, ends_at: int) -> None:
        self._made, self._read, self._ends_at = made, read, ends_at
        self._kernel = self._ours = 0
        self.cut_at: int | None = None
        self._second = 0
        self._protocol: Any = SimpleNamespace(
            _took=False,
            _stuck=None,
            _below=None,
            _open=SimpleNamespace(settings=SimpleNamespace(unread_s=UNREAD_S)),
            _runs=SimpleNamespace(response_complete=False),
            flow=SimpleNamespace(write_paused=False),
            transport=SimpleNamespace(abort=self._abort),
        )

    def kernel(self, _: object) -> int:
        return self._kernel

    def run(self) -> None:
        """Until it is read whole, or cut off."""
        while self.cut_at is None and (self._second <= self._ends_at or self._kernel + self._ours):
            self._a_second()

    def _a_second(self) -> None:
        protocol = self._protocol
        protocol._runs.response_complete = self._second >= self._ends_at  # noqa: SLF001 - its own
        if not protocol.flow.write_paused and self._second < self._ends_at:
            self._ours += self._made
        self._kernel -= min(self._read, self._kernel)
        sent = min(http.UNSENT_BYTES - self._kernel, self._ours)
        self._kernel += sent
        self._ours -= sent
        if self._ours > HIGH:
            protocol.flow.write_paused = True
        elif protocol.flow.write_paused and self._ours <= LOW:
            protocol.flow.write_paused, protocol._took = False, True  # noqa: SLF001 - its own
        http.Protocol._look_at_answer(protocol, float(self._second), self._ours)  # noqa: SLF001 - what is tested
        self._second += 1

    def _abort(self) -> None:
        self.cut_at = self._second


@pytest.mark.parametrize(
    ("made", "read", "ends_at", "is_cut"),
    [
        (12_288, 2_048, 90, False),  # twice what must be read, and a sixth of what comes
        (12_288, 5_120, 90, False),
        (12_288, 10_240, 85, False),  # behind when it ends, and never held back before
        (12_288, 0, 90, True),
        (12_288, 512, 90, True),  # half of what must be read
        (400_000, 0, 1, True),  # whole at once
        (400_000, 2_048, 1, False),
    ],
)
def test_who_reads_fast_enough_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, made: int, read: int, ends_at: int, *, is_cut: bool
) -> None:
    stream = Stream(made=made, read=read, ends_at=ends_at)
    monkeypatch.setattr(http, "_with_the_kernel", stream.kernel)

    stream.run()

    assert (stream.cut_at is not None) == is_cut

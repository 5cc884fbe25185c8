"""What a model remembers of texts: the keys and values of their tokens, in every layer."""

import heapq
import weakref
from collections.abc import Callable, Iterator
from typing import Final

from torch import Tensor

FIRST: Final = 64  # tokens for which a text has room at first; it doubles
BETWEEN: Final = 512  # beyond it zeros cost more to read than one more shelf does

Layer = tuple[Tensor, Tensor]  # keys and values, each [rows, heads, width, size]


class Shelf:
    """Room for texts of up to `width` tokens, a row for each, so that they can be read at once."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.rows = 0  # that there are; some may be free
        self._free: list[int] = []
        self._layers: dict[int, Layer] = {}

    @property
    def in_use(self) -> bool:
        """Whether any row is taken."""
        return len(self._free) < self.rows

    def take(self) -> int:
        """A free row, all zeros: not even what is masked may be no number."""
        if not self._free:
            self.rows += 1
            return self.rows - 1
        row = heapq.heappop(self._free)
        for stored in self._layers.values():
            for tensor in stored:
                tensor[row : row + 1] = 0  # nothing, where the layer has no such row yet
        return row

    def give_back(self, row: int) -> None:
        """Let somebody else have it; from any thread."""
        heapq.heappush(self._free, row)

    def layer(self, number: int, like: Tensor, *, rows: int) -> Layer:
        """The keys and values of so many rows, or more.

        Args:
            number: Of the layer.
            like: Some of its keys, ``[1, heads, any, size]``.
            rows: The first, and no more are made: whoever has one does not fail where the device
                has no room for others'.
        """
        stored = self._layers.get(number)
        if stored is None or len(stored[0]) < rows:
            _, heads, _, size = like.shape
            grown = (
                like.new_zeros(rows, heads, self.width, size),
                like.new_zeros(rows, heads, self.width, size),
            )
            for new, old in zip(grown, stored or (), strict=False):
                new[: len(old)] = old
            self._layers[number] = stored = grown
        return stored

    def layers(self) -> Iterator[tuple[int, Layer]]:
        """All layers that were asked for."""
        yield from self._layers.items()


class Shelves:
    """A shelf for each width: the first, twice that, and so on; where wide, and between two."""

    def __init__(self) -> None:
        self._by_width: dict[int, Shelf] = {}

    def fitting(self, tokens: int) -> Shelf:
        """The narrowest shelf for a text of so many tokens."""
        width = FIRST
        while width < tokens:
            width *= 2
        if width > BETWEEN and tokens <= 3 * width // 4:
            width = 3 * width // 4
        return self._by_width.setdefault(width, Shelf(width))

    def tidy(self) -> None:
        """Let go of shelves that nobody uses."""
        self._by_width = {w: shelf for w, shelf in self._by_width.items() if shelf.in_use}


class Cache:
    """One text's row; given back when the cache is no longer referred to."""

    shelf: Shelf
    row: int  # of the shelf
    _give_back: Callable[[], object]

    def __init__(self, shelves: Shelves) -> None:
        self._shelves = shelves
        self.length = 0  # tokens that count; what is written beyond is written again
        self._take(shelves.fitting(FIRST))

    @property
    def place(self) -> tuple[int, int]:
        """By which those of a shelf are beside each other, in the order of its rows."""
        return self.shelf.width, self.row

    def reserve(self, tokens: int) -> None:
        """Have room for so many tokens behind those that count; all is as it was if it raises."""
        if self.length + tokens <= self.shelf.width:
            return
        old, row, give_back = self.shelf, self.row, self._give_back
        self._take(self._shelves.fitting(self.length + tokens))
        try:
            self._learn(old, row)
        except BaseException:
            self._give_back()
            self.shelf, self.row, self._give_back = old, row, give_back
            raise
        give_back()

    def copy(self) -> "Cache":
        """Another row that knows the same."""
        new = Cache(self._shelves)
        new.reserve(self.length)
        new.length = self.length
        new._learn(self.shelf, self.row)
        return new

    def _learn(self, shelf: Shelf, row: int) -> None:
        """Know what another row does, of the tokens that count."""
        if not self.length:
            return
        for number, stored in shelf.layers():
            own = self.shelf.layer(number, stored[0], rows=self.row + 1)
            for new, known in zip(own, stored, strict=True):
                new[self.row, :, : self.length] = known[row, :, : self.length]

    def _take(self, shelf: Shelf) -> None:
        self.shelf, self.row = shelf, shelf.take()
        self._give_back = weakref.finalize(self, shelf.give_back, self.row)

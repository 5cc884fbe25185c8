"""Which of the requests that wait go to the device together."""

from collections.abc import Sequence

from msgspec import Struct


class Size(Struct, frozen=True):
    """What one request takes of a batch."""

    width: int  # tokens of its longest row
    rows: int = 1


class Waiting(Struct, frozen=True):
    """What the choice of the next batch depends on."""

    size: Size
    task: str
    priority: int = 0  # higher goes first


def pack(sizes: Sequence[Size], *, budget: int) -> list[list[int]]:
    """Sort requests by length and cut them into batches of `budget` padded tokens.

    Sorted, because each row is padded to the longest of its batch. A request that
    is over the budget by itself gets a batch of its own.

    Args:
        sizes: the requests, first come first.
        budget: of ``rows * max(width)``.

    Returns:
        Positions in `sizes`, each in exactly one batch. The batch of whoever has
        waited longest comes first: that is why nobody starves.
    """
    batches: list[list[int]] = []
    rows = 0
    for position in sorted(range(len(sizes)), key=lambda position: sizes[position].width):
        size = sizes[position]
        rows += size.rows
        if batches and rows * size.width <= budget:
            batches[-1].append(position)
        else:
            batches.append([position])
            rows = size.rows
    return sorted(batches, key=min)


def padded(sizes: Sequence[Size]) -> int:
    """The tokens of one batch of these, padding included."""
    return sum(size.rows for size in sizes) * max(size.width for size in sizes)


def is_full(sizes: Sequence[Size], *, budget: int) -> bool:
    """Whether a batch has no room for one more row of any length."""
    return padded([*sizes, Size(1)]) > budget


def next_batch(waiting: Sequence[Waiting], *, first: int, budget: int) -> list[int]:
    """Choose the batch of whoever's turn it is: one task, neighbours in length.

    Requests of other priorities fill what room is left, where they make no row longer.

    Args:
        waiting: first come first.
        first: whose turn it is, a position in `waiting`; the first of its priority.
        budget: as `pack`'s.

    Returns:
        Positions in `waiting`, `first` among them.
    """
    chosen = waiting[first]
    peers: list[int] = []
    others: list[int] = []
    for position, one in enumerate(waiting):
        if one.task == chosen.task:
            (peers if one.priority == chosen.priority else others).append(position)
    batch = [peers[index] for index in pack([waiting[p].size for p in peers], budget=budget)[0]]
    if others:
        width = max(waiting[position].size.width for position in batch)
        rows = sum(waiting[position].size.rows for position in batch)
        for position in sorted(others, key=lambda position: -waiting[position].priority):
            size = waiting[position].size
            if size.width <= width and (rows + size.rows) * width <= budget:
                batch.append(position)
                rows += size.rows
    return batch

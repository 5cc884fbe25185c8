"""Dividing a batch's time among its requests."""

from collections.abc import Sequence


def apportion(total: int, weights: Sequence[int]) -> list[int]:
    """Divide `total` in proportion to `weights`, into integers that add up to it.

    Args:
        total: 0 or more.
        weights: 0 or more each, at least one of them; all 0 counts as all equal.

    Source: the method of the largest remainder (Hamilton's); ties to the first.
    """
    if not any(weights):
        weights = [1] * len(weights)
    whole = sum(weights)
    shares = [total * weight // whole for weight in weights]
    largest_remainder_first = sorted(
        range(len(weights)), key=lambda position: -(total * weights[position] % whole)
    )
    for position in largest_remainder_first[: total - sum(shares)]:
        shares[position] += 1
    return shares

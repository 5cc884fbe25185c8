"""Dividing a batch's time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.share import apportion


def test_time_is_divided_by_tokens() -> None:
    assert apportion(100, [30, 10, 10]) == [60, 20, 20]


@given(st.integers(0, 10_000_000), st.lists(st.integers(0, 100_000), min_size=1))
def test_shares_add_up_and_are_off_by_less_than_one(total: int, weights: list[int]) -> None:
    shares = apportion(total, weights)

    assert sum(shares) == total
    if whole := sum(weights):
        for share, weight in zip(shares, weights, strict=True):
            assert abs(share * whole - total * weight) < whole


@pytest.mark.parametrize("weights", [[0, 0, 0], [1, 1, 1]])
def test_where_all_weigh_the_same_the_first_take_what_is_left(weights: list[int]) -> None:
    assert apportion(5, weights) == [2, 2, 1]

"""One bad input harms no other."""

from collections.abc import Sequence

from inference.attempt import attempt
from inference.errors import DeviceFull, InputRefused


def halve(numbers: Sequence[int]) -> list[int | InputRefused]:
    if 13 in numbers:
        raise ZeroDivisionError
    if 99 in numbers:
        raise InputRefused("too_many", "Fewer, please.")
    return [number // 2 for number in numbers]


def test_all_together_where_nothing_goes_wrong() -> None:
    (together,) = attempt(halve, [2, 4, 6])

    assert together.outcomes == [1, 2, 3]


def test_each_alone_where_something_does() -> None:
    tries = attempt(halve, [2, 13, 4, 99])

    outcomes = [outcome for tried in tries for outcome in tried.outcomes]
    assert [type(outcome) for outcome in outcomes] == [int, ZeroDivisionError, int, InputRefused]
    assert [outcomes[0], outcomes[2]] == [1, 2]


def test_one_alone_is_not_tried_twice() -> None:
    calls: list[Sequence[int]] = []

    def fail(numbers: Sequence[int]) -> list[int | InputRefused]:
        calls.append(numbers)
        raise ZeroDivisionError

    attempt(fail, [1])

    assert calls == [[1]]


def test_a_result_too_few_is_an_error_and_nobody_gets_anothers() -> None:
    tries = attempt(lambda numbers: [n for n in numbers if n != 2], [1, 2, 3])

    outcomes = [outcome for tried in tries for outcome in tried.outcomes]
    assert outcomes[0] == 1
    assert isinstance(outcomes[1], ValueError)
    assert outcomes[2] == 3


def test_where_the_device_is_full_halves_are_tried_and_what_has_no_room_alone_is_refused() -> None:
    calls: list[Sequence[int]] = []

    def fits(sizes: Sequence[int]) -> list[int | InputRefused]:
        calls.append(sizes)
        if sum(sizes) > 4:
            raise DeviceFull
        return [size * 10 for size in sizes]

    tries = attempt(fits, [2, 2, 1, 9, 3])

    outcomes = [outcome for tried in tries for outcome in tried.outcomes]
    refused = outcomes.pop(3)
    assert outcomes == [20, 20, 10, 30]
    assert isinstance(refused, InputRefused)
    assert (refused.code, refused.status) == ("input_too_large", 413)
    assert calls[1] == [2, 2]  # not one by one

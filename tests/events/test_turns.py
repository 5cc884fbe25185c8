"""Whose turn it is: priority, and a share for whoever is patient."""

from itertools import count

from hypothesis import given
from hypothesis import strategies as st

from events.turns import OVERTAKEN, Turns

TURNS = OVERTAKEN + 1

priorities = st.lists(st.integers(-3, 3), min_size=1, max_size=12)


def test_priority_goes_first_and_equals_keep_their_order() -> None:
    turns, waiting = Turns(), [("a", 0), ("b", 5), ("c", 5), ("d", 0)]

    served = []
    while waiting:
        served.append(waiting.pop(turns.next([priority for _, priority in waiting]))[0])

    assert served == ["b", "c", "a", "d"]


def test_of_what_is_served_under_endless_higher_priority_a_quarter_is_not_of_it() -> None:
    turns, waiting = Turns(), [0] * 25
    served = []
    for _ in range(100):
        waiting.append(9)  # one more for each that is served
        served.append(waiting.pop(turns.next(waiting)))

    assert served.count(0) == 25


@given(priorities, st.lists(st.integers(-3, 3), max_size=80))
def test_nobody_waits_longer_than_four_turns_for_each_before_it(
    before: list[int], later: list[int]
) -> None:
    """Whoever comes later, and however high they are."""
    turns, ids = Turns(), count()
    waiting = [(next(ids), priority) for priority in before]
    served_at = {}
    for turn in range(TURNS * len(before)):
        if later:
            waiting.append((next(ids), later.pop()))
        if waiting:
            who, _ = waiting.pop(turns.next([priority for _, priority in waiting]))
            served_at[who] = turn

    for who in range(len(before)):
        assert served_at[who] < TURNS * (who + 1)

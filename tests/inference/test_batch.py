"""Which requests share a batch."""

from itertools import chain, pairwise

from hypothesis import given
from hypothesis import strategies as st

from inference.batch import Size, Waiting, next_batch, pack, padded

sizes = st.builds(Size, width=st.integers(1, 512), rows=st.integers(1, 40))
waiting = st.builds(
    Waiting, size=sizes, task=st.sampled_from(["tokens", "entities"]), priority=st.integers(0, 2)
)
budgets = st.integers(512, 16_384)


def test_short_texts_share_a_batch_and_a_long_one_has_its_own() -> None:
    batches = pack([Size(width) for width in (10, 500, 12, 11)], budget=512)

    assert batches == [[0, 3, 2], [1]]


@given(st.lists(sizes, max_size=60), budgets)
def test_batches_fit_the_budget_and_lose_nobody(sizes: list[Size], budget: int) -> None:
    batches = pack(sizes, budget=budget)

    assert sorted(chain(*batches)) == list(range(len(sizes)))
    for batch in batches:
        assert len(batch) == 1 or padded([sizes[position] for position in batch]) <= budget


@given(st.lists(sizes, min_size=1, max_size=60), budgets)
def test_whoever_has_waited_longest_goes_first(sizes: list[Size], budget: int) -> None:
    assert 0 in pack(sizes, budget=budget)[0]


@given(st.lists(sizes, min_size=1, max_size=60), budgets)
def test_a_batch_holds_neighbours_in_length(sizes: list[Size], budget: int) -> None:
    spans = [[sizes[position].width for position in batch] for batch in pack(sizes, budget=budget)]

    assert all(span == sorted(span) for span in spans)
    ordered = sorted(spans, key=lambda span: (span[0], span[-1]))
    assert all(shorter[-1] <= longer[0] for shorter, longer in pairwise(ordered))


@given(st.lists(waiting, min_size=1, max_size=60), budgets, st.data())
def test_the_next_batch_holds_one_task_and_whoever_has_the_turn(
    waiting: list[Waiting], budget: int, data: st.DataObject
) -> None:
    priority = data.draw(st.sampled_from([one.priority for one in waiting]))
    first = next(i for i, one in enumerate(waiting) if one.priority == priority)

    batch = next_batch(waiting, first=first, budget=budget)

    assert first in batch
    assert len({waiting[position].task for position in batch}) == 1
    assert len(set(batch)) == len(batch)
    assert len(batch) == 1 or padded([waiting[position].size for position in batch]) <= budget


def test_lower_priority_rides_along_only_where_it_costs_nothing() -> None:
    waiting = [
        Waiting(Size(50), "entities"),
        Waiting(Size(8), "entities"),
        Waiting(Size(10), "entities", priority=1),
        Waiting(Size(10), "tokens"),
    ]

    assert next_batch(waiting, first=2, budget=1_000) == [2, 1]

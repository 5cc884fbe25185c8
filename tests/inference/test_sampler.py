"""Choosing tokens."""

from collections import Counter

import pytest
import torch
from msgspec.structs import replace

from inference.models.causal_lm.sampler import Choice, Sampler, spread

GREEDY = Choice(temperature=0, top_k=50, top_p=1, repetition_penalty=1, seed=None)
LUCKY = replace(GREEDY, temperature=1.0, top_k=0, seed=7)


def choose(choice: Choice, scores: list[float], *, times: int = 1) -> Counter[int | None]:
    sampler = Sampler(choice, ())
    return Counter(sampler.choose(torch.tensor(scores), [], lambda _: True) for _ in range(times))


def test_without_temperature_the_likeliest_is_chosen() -> None:
    assert choose(GREEDY, [0.1, 3.0, 2.9], times=20) == {1: 20}


def test_chances_are_those_that_the_scores_say() -> None:
    drawn = choose(LUCKY, torch.tensor([0.2, 0.5, 0.3]).log().tolist(), times=3_000)

    assert [drawn[token] / 3_000 for token in range(3)] == pytest.approx([0.2, 0.5, 0.3], abs=0.04)


@pytest.mark.parametrize(
    ("choice", "left"),
    [
        (replace(LUCKY, top_k=1), {1}),
        (replace(LUCKY, top_k=2), {1, 2}),
        (replace(LUCKY, top_p=0.5), {1}),
        (replace(LUCKY, top_p=0.51), {1, 2}),
        (replace(LUCKY, top_p=1e-9), {1}),
        (replace(LUCKY, temperature=1e-30), {1}),
        (replace(LUCKY, temperature=5.0, top_k=500), {0, 1, 2}),
    ],
)
def test_what_is_left_out_is_never_chosen(choice: Choice, left: set[int]) -> None:
    assert set(choose(choice, torch.tensor([0.2, 0.5, 0.3]).log().tolist(), times=400)) == left


def test_of_many_that_are_alike_as_many_are_left_as_have_the_share() -> None:
    found = choose(replace(LUCKY, top_p=0.5), [0.0] * 4_096, times=4_000)

    assert 1_024 < len(found) <= 2_048


def test_what_has_no_chance_is_never_chosen() -> None:
    assert set(choose(LUCKY, [-torch.inf, 0.0, -torch.inf], times=99)) == {1}


def test_what_is_no_number_is_an_error_and_no_token() -> None:
    with pytest.raises(ValueError, match="no token has a chance"):
        choose(LUCKY, [0.0, torch.nan])


@pytest.mark.parametrize("luck", [0.0, 1.0])
def test_luck_at_its_ends_chooses_one_that_has_a_chance(
    monkeypatch: pytest.MonkeyPatch, luck: float
) -> None:
    monkeypatch.setattr(torch, "rand", lambda *_, **__: torch.tensor(luck, dtype=torch.float64))

    assert set(choose(LUCKY, [-torch.inf, 0.0, -torch.inf])) == {1}


def test_seeds_of_several_texts_are_those_of_no_others() -> None:
    seeds = [one.seed for seed in range(50) for one in spread(replace(LUCKY, seed=seed), 8)]

    assert len(set(seeds)) == len(seeds)
    assert {one.seed for one in spread(GREEDY, 3)} == {None}


def test_the_same_seed_draws_the_same() -> None:
    def draw(seed: int | None) -> list[int | None]:
        sampler = Sampler(replace(LUCKY, seed=seed), ())
        return [sampler.choose(torch.zeros(1_000), [], lambda _: True) for _ in range(9)]

    assert draw(1) == draw(1) != draw(2)
    assert draw(2**63 - 1) == draw(2**63 - 1)
    assert draw(None) != draw(None)


def test_repetition_is_penalized_whatever_its_sign() -> None:
    sampler = Sampler(replace(GREEDY, repetition_penalty=2.0), ())

    assert sampler.choose(torch.tensor([3.0, 2.0, -5.0]), [0, 0], lambda _: True) == 1
    assert sampler.choose(torch.tensor([-3.0, -4.0, -5.0]), [0], lambda _: True) == 1


def test_what_is_not_allowed_is_not_chosen_and_none_if_nothing_is() -> None:
    sampler = Sampler(GREEDY, {3})

    assert sampler.choose(torch.tensor([1.0, 2, 3, 9]), [], lambda token: token != 2) == 1
    assert sampler.choose(torch.tensor([1.0, 2, 3, 9]), [], lambda _: False) is None


@pytest.mark.parametrize("tiny", [1e-320, 1e-46, 1e-39])
def test_the_smallest_temperature_and_top_p_leave_the_likeliest(tiny: float) -> None:
    """They are no numbers of float32, which is what scores are."""
    scores = [1.0, 3.0, 2.0]

    assert set(choose(replace(LUCKY, temperature=tiny), scores, times=9)) == {1}
    assert set(choose(replace(LUCKY, top_p=tiny), scores, times=9)) == {1}

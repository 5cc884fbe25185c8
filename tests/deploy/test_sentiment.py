"""How the weights for moods are trained, and what is kept from them."""

import random
from pathlib import Path

import pytest
import torch

from deploy.local.sentiment import ENCODER, Snippet, fit
from events.models import ModelDeclared
from inference.errors import ModelUnfit
from inference.models import load, package_folder
from inference.models.sentence_transformers.skills import read_mood


def test_a_line_is_found_between_two_clouds() -> None:
    torch.manual_seed(1)
    positive = torch.tensor([0.0, 1.0] * 200)
    states = torch.randn(400, 3, dtype=torch.float64) * torch.tensor([1.0, 5.0, 0.1])
    states[:, 1] += 60 * positive + 100  # of another size than the rest, and far from zero

    weight, bias = fit(states, positive)

    odds = states @ weight.double() + bias
    assert ((odds > 0) == positive.bool()).all()


def test_one_row_in_five_is_held_back_with_all_that_are_the_same() -> None:
    words = random.Random(1).choices(["gate", "old", "Rome", "I", "hate", "love"], k=6_000)
    texts = [" ".join(words[place : place + 6]) for place in range(0, 6_000, 6)]
    held_back = [Snippet("tweets", text, positive=True).held_back for text in texts]

    assert 150 < sum(held_back) < 250
    assert held_back == [
        Snippet("other", f" {text.upper()}  ", positive=False).held_back for text in texts
    ]


def test_the_weights_are_of_the_model_that_is_shipped() -> None:
    mood = read_mood()

    assert mood.encoder == ENCODER
    assert mood.weight.shape == (7 * 384,)


def test_a_model_that_the_weights_know_nothing_of_tells_no_moods(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "another_encoder").symlink_to(package_folder(ENCODER, "MiniLM"))
    monkeypatch.syspath_prepend(tmp_path)
    source = "sentence-transformers:another_encoder"

    load(ModelDeclared(name="another", source=source, tasks=("embeddings",)))
    with pytest.raises(ModelUnfit, match="does not do sentiment"):
        load(ModelDeclared(name="another", source=source, tasks=("embeddings", "sentiment")))

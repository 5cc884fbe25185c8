"""A model whose device is full."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from msgspec.structs import replace

from events.models import ModelDeclared
from events.tasks.embeddings import EmbeddingsInput, EmbeddingsResult
from inference.attempt import attempt
from inference.errors import DeviceFull, InputRefused, ModelUnfit
from inference.models.device import copied, device_of
from inference.models.model import Answer, Model, Prepared

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")


def crowd(model: Any, monkeypatch: pytest.MonkeyPatch, *, tokens: int) -> None:
    """Let the model's device have room for so many tokens of a batch, and no more."""
    forward = model._model.forward  # noqa: SLF001 - there is no public way to fill it

    def crowded(*arguments: Any, **named: Any) -> Any:
        if named["input_ids"].numel() > tokens:
            raise torch.OutOfMemoryError
        return forward(*arguments, **named)

    monkeypatch.setattr(model._model, "forward", crowded)  # noqa: SLF001 - likewise


def embed(model: Model, *inputs: EmbeddingsInput) -> list[Answer | Exception]:
    prepared = [one for one in model.tokenize("embeddings", inputs) if isinstance(one, Prepared)]

    def run(some: Sequence[Prepared]) -> Sequence[Answer | InputRefused]:
        return model.run("embeddings", some)

    return [outcome for tried in attempt(run, prepared) for outcome in tried.outcomes]


def test_a_batch_that_is_too_large_for_the_device_is_run_in_smaller_ones(
    embeddings_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = [
        EmbeddingsInput(sentences=[f"This is number {n}." for n in range(size)])
        for size in (3, 1, 2, 9)
    ]
    expected = embed(embeddings_model, *inputs)
    crowd(embeddings_model, monkeypatch, tokens=32)  # of four of these sentences

    *fitting, refused = embed(
        embeddings_model, *inputs, EmbeddingsInput(sentences=["One.", "This " * 40])
    )

    assert [_vectors(one) for one in fitting] == [
        [pytest.approx(vector, abs=1e-5) for vector in _vectors(one)] for one in expected
    ]
    assert isinstance(refused, InputRefused)
    assert (refused.code, refused.status) == ("input_too_large", 413)


def test_a_model_says_that_the_device_is_full_and_not_that_it_is_broken(
    embeddings_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    crowd(embeddings_model, monkeypatch, tokens=0)
    prepared = embeddings_model.tokenize("embeddings", [EmbeddingsInput(sentences=["One."])])

    with pytest.raises(DeviceFull):
        embeddings_model.run("embeddings", [one for one in prepared if isinstance(one, Prepared)])


def test_a_device_that_is_not_there_is_refused(declared: dict[str, ModelDeclared]) -> None:
    with pytest.raises(ModelUnfit, match="no such device"):
        device_of(replace(declared["echo"], device="abacus"))


@needs_gpu
def test_a_process_keeps_to_its_share_of_a_gpu(declared: dict[str, ModelDeclared]) -> None:
    echo = declared["echo"]
    device = device_of(replace(echo, device="cuda", limits=replace(echo.limits, gpu_memory=0.01)))

    with pytest.raises(torch.OutOfMemoryError):
        torch.empty(torch.cuda.get_device_properties(device).total_memory // 50, device=device)


@needs_gpu
def test_numbers_arrive_on_a_gpu() -> None:
    assert copied([[1, 2], [3, 4]], torch.device("cuda")).tolist() == [[1, 2], [3, 4]]


def _vectors(answer: Answer | Exception) -> list[list[float]]:
    assert isinstance(answer, Answer)
    assert isinstance(answer.result, EmbeddingsResult)
    return answer.result.embeddings

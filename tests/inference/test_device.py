"""A model whose device is full."""

from collections.abc import Sequence
from typing import Any, NoReturn

import pytest
import torch
from msgspec.structs import replace

from events.models import ModelDeclared
from events.tasks.embeddings import EmbeddingsInput, EmbeddingsResult
from inference.attempt import attempt
from inference.errors import DeviceFull, DeviceLost, InputRefused, ModelUnfit
from inference.models.device import copied, device_of, fetched, move, on_device
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


@pytest.mark.parametrize(
    ("device", "reason"),
    [
        ("abacus", "no such device"),
        ("mps", "no model runs on device 'mps'"),
        ("cuda:99", "device 'cuda:99' is declared, and there is none such"),
    ],
)
def test_a_device_that_is_not_there_is_refused(
    declared: dict[str, ModelDeclared], device: str, reason: str
) -> None:
    with pytest.raises(ModelUnfit, match=reason):
        device_of(replace(declared["echo"], device=device))


def test_weights_that_a_device_has_no_room_for_are_refused(
    declared: dict[str, ModelDeclared], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> NoReturn:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(torch.nn.Module, "to", full)
    with pytest.raises(ModelUnfit, match="has no room for it"):
        move(torch.nn.Linear(1, 1), torch.device("cuda:0"), declared["echo"])


def test_numbers_are_fetched_as_float32() -> None:
    found = fetched(torch.tensor([1.5, -2.0], dtype=torch.bfloat16))
    assert found.dtype is torch.float32
    assert found.tolist() == [1.5, -2.0]


@pytest.mark.parametrize(
    ("code", "told"), [(2, DeviceFull), (710, DeviceLost)], ids=["no memory", "assert"]
)
def test_what_the_driver_says_is_told_apart(code: int, told: type[BaseException]) -> None:
    error = torch.AcceleratorError("CUDA error")
    error.error_code = code  # type: ignore[attr-defined]  # as C++ sets it
    with pytest.raises(told), on_device():
        raise error


@needs_gpu
def test_a_process_keeps_to_its_share_of_a_gpu(declared: dict[str, ModelDeclared]) -> None:
    echo = declared["echo"]
    device = device_of(replace(echo, device="cuda", limits=replace(echo.limits, gpu_memory=0.01)))

    try:
        with pytest.raises(torch.OutOfMemoryError):
            torch.empty(torch.cuda.get_device_properties(device).total_memory // 50, device=device)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


@needs_gpu
def test_numbers_arrive_on_a_gpu() -> None:
    assert copied([[1, 2], [3, 4]], torch.device("cuda")).tolist() == [[1, 2], [3, 4]]


def _vectors(answer: Answer | Exception) -> list[list[float]]:
    assert isinstance(answer, Answer)
    assert isinstance(answer.result, EmbeddingsResult)
    return answer.result.embeddings

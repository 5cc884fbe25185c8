"""What a language model remembers of texts, and a device that has no room for it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from events.tasks.generation import GenerationInput
from inference.attempt import attempt
from inference.errors import DeviceFull, DeviceLost, InputRefused, NoRoom
from inference.models import load
from inference.models.causal_lm import attention
from inference.models.causal_lm.cache import Cache, Shelf
from inference.models.causal_lm.generator import READ, CausalLM
from inference.models.model import Advance, Prepared
from tests.inference.tiny import declare, told, write


@pytest.fixture
def tiny(tiny_folder: Path) -> CausalLM:
    """One whose memory no other test has had a part in."""
    model = load(declare(tiny_folder))
    assert isinstance(model, CausalLM)
    return model


def test_rows_are_free_again_when_their_texts_have_left(tiny: CausalLM) -> None:
    def texts(count: int, tokens: int) -> list[GenerationInput]:
        return [GenerationInput(text="on", seed=1, max_length=tokens)] * count

    shelves = tiny._shelves  # noqa: SLF001 - nobody else sees what is kept
    write(tiny, *texts(4, 100))
    shelves.tidy()
    assert not shelves._by_width  # noqa: SLF001 - likewise

    write(tiny, *texts(2, 5), *texts(2, 3), joining_at=[0, 0, 7, 7])
    rows = [shelf.rows for shelf in shelves._by_width.values()]  # noqa: SLF001 - likewise
    assert rows == [2]


def test_a_step_that_raises_has_changed_nothing(
    tiny: CausalLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = [GenerationInput(text="Tell me", seed=seed, max_length=8) for seed in (1, 2)]
    undisturbed = [one.text for one in write(tiny, *values)]
    prepared = tiny.tokenize("generation", values)
    drafts = [tiny.join(one) for one in prepared if isinstance(one, Prepared)]
    texts = ["", ""]

    for calls in (2, 1, 1, 1, 1, 1, 1, 1):  # the second draft's reading, and each writing
        with monkeypatch.context() as broken:
            broken.setattr(tiny, "_model", failing(tiny._model, at=calls))  # noqa: SLF001 - there is no public way to break it
            with pytest.raises(MemoryError):
                tiny.step(drafts)
        for number, advance in enumerate(tiny.step(drafts)):
            assert isinstance(advance, Advance)
            texts[number] += told(advance)

    assert texts == undisturbed


def test_a_copy_that_there_was_no_room_for_is_made_later(
    tiny: CausalLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = GenerationInput(text="Tell me", seed=1, max_length=8, num_return_sequences=3)
    (undisturbed,) = write(tiny, value)
    (prepared,) = tiny.tokenize("generation", [value])
    assert isinstance(prepared, Prepared)
    draft = tiny.join(prepared)
    (advance,) = tiny.step([draft])
    copies = iter([Cache.copy, no_room])

    with monkeypatch.context() as full:
        full.setattr(Cache, "copy", lambda cache: next(copies)(cache))  # noqa: PLW0108 - another one for each call
        with pytest.raises(DeviceFull):
            tiny.step([draft])
    while isinstance(advance, Advance) and advance.result is None:
        (advance,) = tiny.step([draft])

    assert isinstance(advance, Advance)
    assert advance.result == undisturbed.result


def test_a_text_that_the_device_has_no_room_for_is_refused_and_the_others_notice_nothing(
    tiny: CausalLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = [GenerationInput(text="Tell me", seed=seed, max_length=8) for seed in (1, 2, 3)]
    undisturbed = [one.text for one in write(tiny, *values)]
    values.insert(1, GenerationInput(text="on " * 2 * READ, seed=1, max_length=8))
    prepared = tiny.tokenize("generation", values)
    drafts = {n: tiny.join(one) for n, one in enumerate(prepared) if isinstance(one, Prepared)}
    texts: dict[int, str] = dict.fromkeys(drafts, "")
    refused: dict[int, Exception] = {}
    monkeypatch.setattr(tiny, "_model", crowded(tiny._model))  # noqa: SLF001 - nor to fill it

    while drafts:
        running = list(drafts)
        tried = attempt(tiny.step, list(drafts.values()))
        outcomes = [outcome for one in tried for outcome in one.outcomes]
        for number, outcome in zip(running, outcomes, strict=True):
            if isinstance(outcome, Exception):
                refused[number] = outcome
                del drafts[number], texts[number]
                continue
            texts[number] += told(outcome)
            if outcome.result is not None:
                del drafts[number]

    assert list(texts.values()) == undisturbed
    assert list(refused) == [1]
    assert isinstance(refused[1], InputRefused)
    assert refused[1].code == "input_too_large"


def no_room(_cache: Cache) -> Cache:
    raise torch.OutOfMemoryError


def crowded(model: Any) -> Any:
    """Has no room to read a long text."""

    def forward(**arguments: Any) -> Any:
        if arguments["input_ids"].shape[1] == READ:
            raise torch.OutOfMemoryError
        return model(**arguments)

    return forward


def failing(model: Any, *, at: int) -> Any:
    """Raises at the end of a call."""
    calls = 0

    def forward(**arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        found = model(**arguments)
        if calls == at:
            raise MemoryError
        return found

    return forward


@contextmanager
def room(*, rows: int, width: int) -> Iterator[None]:
    """A device that has room for shelves of so many rows, and so many tokens in each."""
    new_zeros = torch.Tensor.new_zeros

    def crowded(like: torch.Tensor, *shape: int, **options: Any) -> torch.Tensor:
        if len(shape) == 4 and (shape[0] > rows or shape[2] > width):
            raise torch.OutOfMemoryError
        return new_zeros(like, *shape, **options)

    with pytest.MonkeyPatch.context() as full:
        full.setattr(torch.Tensor, "new_zeros", crowded)
        yield


def join(model: CausalLM, text: str) -> Any:
    (prepared,) = model.tokenize(
        "generation", [GenerationInput(text=text, temperature=0, max_length=24)]
    )
    assert isinstance(prepared, Prepared)
    return model.join(prepared)


def step(model: CausalLM, drafts: list[Any]) -> list[Advance | Exception]:
    return [outcome for tried in attempt(model.step, drafts) for outcome in tried.outcomes]


def test_a_text_that_there_was_no_room_for_to_grow_goes_on_later_with_all_that_it_was(
    tiny: CausalLM,
) -> None:
    text = "on " * 58
    (undisturbed,) = write(tiny, GenerationInput(text=text, temperature=0, max_length=24))
    draft, found, failed = join(tiny, text), "", 0
    while True:
        if failed:
            (advance,) = step(tiny, [draft])
        else:
            with room(rows=4, width=64):
                (advance,) = step(tiny, [draft])
        if isinstance(advance, NoRoom):
            failed += 1
            continue
        assert isinstance(advance, Advance)
        found += told(advance)
        if advance.result is not None:
            break
    assert failed == 1
    assert found == undisturbed.text


def test_one_text_more_than_there_is_room_for_takes_none_of_the_others(tiny: CausalLM) -> None:
    with room(rows=3, width=64):
        drafts = [join(tiny, "Tell me") for _ in range(3)]
        step(tiny, drafts)
        *others, refused = step(tiny, [*drafts, join(tiny, "Tell me")])
        assert isinstance(refused, NoRoom)
        assert all(isinstance(one, Advance) for one in others)
        assert all(isinstance(one, Advance) for one in step(tiny, drafts))
        drafts.clear()
        (alone,) = step(tiny, [join(tiny, "Tell me")])
        assert isinstance(alone, Advance)


def test_a_device_that_is_lost_is_lost_to_those_who_join_as_well(
    tiny: CausalLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(_shelf: Shelf) -> int:
        raise torch.AcceleratorError("CUDA error")

    monkeypatch.setattr(Shelf, "take", lost)
    with pytest.raises(DeviceLost):
        attempt(lambda values: [join(tiny, value) for value in values], ["Tell me", "on"])


def test_a_long_text_can_be_read_while_a_short_one_waits_for_its_reader(tiny: CausalLM) -> None:
    waits = join(tiny, "Tell me")
    step(tiny, [waits])  # it has the only row of its shelf that was ever written to
    long = join(tiny, "on " * 100)
    (advance,) = step(tiny, [long])
    assert isinstance(advance, Advance)
    join(tiny, "Tell me")  # it has the row that the long one left, and does not raise


def test_a_kernel_may_lay_out_its_answers_as_it_likes(
    tiny: CausalLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a GPU the one for masks has the heads innermost but one."""
    value = GenerationInput(text="Tell me", temperature=0, max_length=8)
    (undisturbed,) = write(tiny, value)

    def laid_out(*arguments: Any, **named: Any) -> torch.Tensor:
        found = scaled_dot_product_attention(*arguments, **named)
        return found.transpose(1, 2).contiguous().transpose(1, 2)

    monkeypatch.setattr(attention, "scaled_dot_product_attention", laid_out)
    (found,) = write(tiny, value)
    assert found.text == undisturbed.text

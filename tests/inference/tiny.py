"""A language model of noise, which is quick, and what it writes."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from msgspec import Struct
from transformers import LlamaConfig, LlamaForCausalLM

from events.models import Limits, ModelDeclared
from events.tasks.generation import GenerationInput, GenerationPiece, GenerationResult
from events.usage import Quantities
from inference.models import FOLDERS
from inference.models.model import Advance, Generator, Prepared

SMOL = FOLDERS / "SmolLM2-135M-Instruct"


class Written(Struct):
    """What a test has of one request."""

    said: list[GenerationPiece]
    last: Advance | None = None

    @property
    def pieces(self) -> list[str]:
        return [piece.text for piece in self.said]

    @property
    def result(self) -> GenerationResult:
        assert self.last is not None
        assert isinstance(self.last.result, GenerationResult)
        return self.last.result

    @property
    def quantities(self) -> Quantities:
        assert self.last is not None
        return self.last.quantities

    @property
    def text(self) -> str:
        return "".join(self.pieces)


def write(
    model: Generator, *values: GenerationInput, joining_at: Sequence[int] = ()
) -> list[Written]:
    """Generate side by side; each joins at the step that is given for it, 0 if none is."""
    prepared = model.tokenize("generation", values)
    assert all(isinstance(one, Prepared) for one in prepared)
    joining = [*joining_at, *[0] * (len(values) - len(joining_at))]
    drafts: dict[int, Any] = {}
    texts = [Written([]) for _ in values]
    at = 0
    while any(text.last is None for text in texts):
        for number, one in enumerate(prepared):
            if joining[number] == at and isinstance(one, Prepared):
                drafts[number] = model.join(one)
        running = list(drafts)
        for number, advance in zip(running, model.step(list(drafts.values())), strict=True):
            assert isinstance(advance, Advance)
            texts[number].said += [piece.said for piece in advance.pieces]  # type: ignore[misc] # of this task
            if advance.result is not None:
                texts[number].last = advance
                del drafts[number]
        at += 1
    return texts


def told(advance: Advance) -> str:
    """The text of one step."""
    return "".join(piece.said.text for piece in advance.pieces)  # type: ignore[attr-defined] # likewise


def make(folder: Path, *, vocabulary: int = 49_152) -> None:
    """Two layers that speak SmolLM2's tokens, as transformers keeps them."""
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2_048,
        bos_token_id=1,
        eos_token_id=2,
        initializer_range=0.5,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    shutil.copy(SMOL / "tokenizer.json", folder)


def declare(folder: Path, *, slots: int = 4) -> ModelDeclared:
    return ModelDeclared(
        name="tiny", source=f"causal-lm:{folder}", tasks=("generation",), limits=Limits(slots=slots)
    )

"""Embeddings by sentence-transformers models."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
import torch
from msgspec import Struct

from events.models import ModelDeclared
from events.tasks.embeddings import EmbeddingsInput, EmbeddingsResult
from events.tasks.task import read_texts
from inference.batch import Size, pack
from inference.errors import ModelUnfit
from inference.models import package_folder
from inference.models.device import copied, device_of, sparing_memory
from inference.models.model import Answer, Prepared

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # read on import; weights are local or absent

from transformers import AutoModel, AutoTokenizer
from transformers.utils.logging import disable_progress_bar

Config = TypeVar("Config")

_DECIMALS: Final = 7  # what float32 holds of numbers below one; more only lengthens answers


class _Encoding(Struct):
    max_seq_length: int


class _Pooling(Struct):
    pooling_mode_mean_tokens: bool = False


class _Ready(Struct, frozen=True):
    sentences: list[str]
    rows: list[list[int]]  # token ids, truncated, with special tokens, not padded


def load(package: str, declared: ModelDeclared) -> "SentenceEncoder":
    """Load a model that is installed as a Python package, from its safetensors.

    Raises:
        ModelUnfit: it is not installed, lacks weights, or pools otherwise than by mean.
        OSError: a file is missing.
    """
    folder = package_folder(package, declared.name)
    folder = folder / "model" if (folder / "model").is_dir() else folder
    device = device_of(declared)
    pooling = _read(folder / "1_Pooling" / "config.json", _Pooling)
    if not pooling.pooling_mode_mean_tokens:
        raise ModelUnfit(declared.name, "only mean pooling is supported")
    local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    disable_progress_bar()  # type: ignore[no-untyped-call]  # a log has no use for it
    model, info = AutoModel.from_pretrained(
        folder,
        use_safetensors=True,
        output_loading_info=True,
        dtype=torch.float32 if device.type == "cpu" else torch.bfloat16,
        **local,
    )
    # layers that the file lacks are filled with random numbers, and nobody is told
    missing = sorted(name for name in info["missing_keys"] if not name.startswith("pooler."))
    if missing:
        raise ModelUnfit(declared.name, f"weights are missing: {', '.join(missing)}")
    return SentenceEncoder(
        model.eval().to(device),
        AutoTokenizer.from_pretrained(folder, **local),
        max_tokens=_read(folder / "sentence_bert_config.json", _Encoding).max_seq_length,
        batch_tokens=declared.limits.batch_tokens,
    )


def _read(path: Path, kind: type[Config]) -> Config:
    return msgspec.json.decode(path.read_bytes(), type=kind)


class SentenceEncoder:
    """A transformer, the mean over its tokens, scaled to length one."""

    tasks: Final = frozenset({"embeddings"})

    def __init__(
        self,
        model: torch.nn.Module,
        tokenizer: Any,  # noqa: ANN401 - transformers has no type for "a tokenizer"
        *,
        max_tokens: int,
        batch_tokens: int,
    ) -> None:
        self._model = model
        self._device = next(model.parameters()).device
        self._tokenizer = tokenizer
        self._padding: int = tokenizer.pad_token_id
        self._max_tokens = max_tokens
        self._batch_tokens = batch_tokens

    def tokenize(self, _task: str, inputs: Sequence[EmbeddingsInput]) -> Sequence[Prepared]:
        """Token ids of each sentence; those beyond the model's length are cut off."""
        flat = [sentence for value in inputs for sentence in value.sentences]
        ids: Iterator[list[int]] = iter(
            self._tokenizer(
                flat,
                truncation=True,
                max_length=self._max_tokens,
                return_attention_mask=False,
                return_token_type_ids=False,
            )["input_ids"]
        )
        return [_prepare(value.sentences, [next(ids) for _ in value.sentences]) for value in inputs]

    def run(self, _task: str, prepared: Sequence[Prepared]) -> Sequence[Answer]:
        """Embed every sentence of the batch.

        Raises:
            DeviceFull: there is no room for that many.
        """
        requests: list[_Ready] = [one.data for one in prepared]
        with sparing_memory():
            vectors = iter(self._embed([row for request in requests for row in request.rows]))
        return [
            Answer(
                EmbeddingsResult(embeddings=[next(vectors) for _ in request.rows]),
                read_texts(request.sentences, input_tokens=sum(map(len, request.rows))),
            )
            for request in requests
        ]

    def _embed(self, rows: Sequence[list[int]]) -> list[list[float]]:
        """One vector for each row of ids, in order.

        One request may bring more rows than a batch may hold, so they are packed again.
        """
        vectors: list[list[float]] = [[]] * len(rows)
        for batch in pack([Size(len(row)) for row in rows], budget=self._batch_tokens):
            found = self._forward([rows[position] for position in batch])
            for position, vector in zip(batch, found, strict=True):
                vectors[position] = vector
        return vectors

    @torch.inference_mode()
    def _forward(self, rows: Sequence[list[int]]) -> list[list[float]]:
        """Embed B rows of up to T ids: one vector of float64 for each, on the CPU."""
        width = max(map(len, rows))
        padded = [row + [self._padding] * (width - len(row)) for row in rows]
        ids, lengths = (
            copied(values, self._device) for values in (padded, [[len(row)] for row in rows])
        )
        mask = torch.arange(width, device=self._device) < lengths  # bool [B, T], False on padding
        hidden = self._model(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        weights = mask.unsqueeze(-1).float()
        mean = (hidden.float() * weights).sum(1) / weights.sum(1)
        unit = torch.nn.functional.normalize(mean, dim=1).cpu().double()
        vectors: list[list[float]] = unit.round(decimals=_DECIMALS).tolist()
        return vectors


def _prepare(sentences: list[str], rows: list[list[int]]) -> Prepared:
    return Prepared(
        width=max(map(len, rows)), data=_Ready(sentences=sentences, rows=rows), rows=len(rows)
    )

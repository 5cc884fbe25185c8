"""Texts as vectors: a transformer, and the mean over its tokens."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import torch
from msgspec import Struct

from events.tasks.task import TaskInput, TaskResult
from events.usage import Quantities
from inference.batch import Size, pack
from inference.errors import InputRefused
from inference.models.device import copied, sparing_memory
from inference.models.model import Answer, Prepared


class Skill(Protocol):
    """How a task is done with vectors."""

    @property
    def layers(self) -> bool:
        """Whether it wants all layers' means, one after the other, and not the unit vector."""

    def texts(self, value: Any) -> Sequence[str | list[int]]:  # noqa: ANN401 - the task's input
        """What is to be read of an input, as text or as tokens that are not framed yet.

        Raises:
            InputRefused: the input asks for what cannot be done.
        """

    def result(self, value: Any, vectors: torch.Tensor) -> TaskResult:  # noqa: ANN401
        """What is made of the vectors: float64 ``[len(texts), W]``, on the CPU."""

    def quantities(self, value: Any, tokens: Sequence[int]) -> Quantities:  # noqa: ANN401
        """What it may be billed by, of so many tokens read of each text, with two that frame it."""


class _Ready(Struct, frozen=True):
    value: TaskInput
    rows: list[list[int]]  # token ids, truncated, with special tokens, not padded


class SentenceEncoder:
    """One transformer for all of its tasks."""

    def __init__(
        self,
        model: torch.nn.Module,
        tokenizer: Any,  # noqa: ANN401 - transformers has no type for "a tokenizer"
        skills: Mapping[str, Skill],
        *,
        max_tokens: int,
        batch_tokens: int,
    ) -> None:
        self._model = model
        self._device = next(model.parameters()).device
        self._tokenizer = tokenizer
        self._padding: int = tokenizer.pad_token_id
        self._skills = skills
        self._max_tokens = max_tokens
        self._batch_tokens = batch_tokens

    @property
    def tasks(self) -> frozenset[str]:
        """Those that there are skills for."""
        return frozenset(self._skills)

    def tokenize(self, task: str, inputs: Sequence[TaskInput]) -> Sequence[Prepared | InputRefused]:
        """Token ids of each text; those beyond the model's length are cut off."""
        texts = [_texts(self._skills[task], value) for value in inputs]
        ids = iter(
            self._ids(
                [text for read in texts if not isinstance(read, InputRefused) for text in read]
            )
        )
        return [
            read if isinstance(read, InputRefused) else _prepare(value, [next(ids) for _ in read])
            for value, read in zip(inputs, texts, strict=True)
        ]

    def _ids(self, texts: Sequence[str | list[int]]) -> list[list[int]]:
        spelled = [text for text in texts if isinstance(text, str)]
        ids: Iterator[list[int]] = iter(
            self._tokenizer(
                spelled,
                truncation=True,
                max_length=self._max_tokens,
                return_attention_mask=False,
                return_token_type_ids=False,
            )["input_ids"]
            if spelled
            else ()
        )
        return [next(ids) if isinstance(text, str) else self._framed(text) for text in texts]

    def _framed(self, tokens: list[int]) -> list[int]:
        """Tokens that came without text, cut off like any, between those that frame a text."""
        first, last = self._tokenizer.cls_token_id, self._tokenizer.sep_token_id
        return [first, *tokens[: self._max_tokens - 2], last]

    def run(self, task: str, prepared: Sequence[Prepared]) -> Sequence[Answer]:
        """Read every text of the batch, and do the task with its vector.

        Raises:
            DeviceFull: there is no room for that many.
        """
        skill = self._skills[task]
        requests: list[_Ready] = [one.data for one in prepared]
        rows = [row for request in requests for row in request.rows]
        with sparing_memory():
            encoded = self._encode(rows, layers=skill.layers)
        vectors = torch.split(encoded, [one.rows for one in prepared])
        return [
            Answer(
                skill.result(request.value, own),
                skill.quantities(request.value, [len(row) for row in request.rows]),
            )
            for request, own in zip(requests, vectors, strict=True)
        ]

    def states(self, texts: Sequence[str]) -> torch.Tensor:
        """What a skill for all layers is given: float64 ``[len(texts), W]``."""
        return self._encode(self._ids(texts), layers=True)

    def _encode(self, rows: Sequence[list[int]], *, layers: bool) -> torch.Tensor:
        """One vector for each row of ids, in order.

        One request may bring more rows than a batch may hold, so they are packed again.
        """
        batches = pack([Size(len(row)) for row in rows], budget=self._batch_tokens)
        found = [self._forward([rows[one] for one in batch], layers=layers) for batch in batches]
        order = torch.tensor([position for batch in batches for position in batch])
        return torch.cat(found)[order.argsort()]

    @torch.inference_mode()
    def _forward(self, rows: Sequence[list[int]], *, layers: bool) -> torch.Tensor:
        """Read B rows of up to T ids: one vector of float64 for each, on the CPU."""
        width = max(map(len, rows))
        padded = [row + [self._padding] * (width - len(row)) for row in rows]
        ids, lengths = (
            copied(values, self._device) for values in (padded, [[len(row)] for row in rows])
        )
        mask = torch.arange(width, device=self._device) < lengths  # bool [B, T], False on padding
        said = self._model(input_ids=ids, attention_mask=mask.long(), output_hidden_states=layers)
        weights = mask.unsqueeze(-1).float()
        if layers:
            means = [_mean(hidden, weights) for hidden in said.hidden_states]
            return torch.cat(means, dim=1).cpu().double()
        mean = _mean(said.last_hidden_state, weights)
        return torch.nn.functional.normalize(mean, dim=1).cpu().double()


def _mean(hidden: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    return (hidden.float() * weights).sum(1) / weights.sum(1)


def _texts(skill: Skill, value: TaskInput) -> Sequence[str | list[int]] | InputRefused:
    try:
        return skill.texts(value)
    except InputRefused as refused:
        return refused


def _prepare(value: TaskInput, rows: list[list[int]]) -> Prepared:
    return Prepared(width=max(map(len, rows)), data=_Ready(value, rows), rows=len(rows))

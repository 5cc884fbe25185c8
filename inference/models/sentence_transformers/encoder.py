"""Texts as vectors: a transformer, and the mean over its tokens."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import torch
from msgspec import Struct

from events.tasks.task import TaskInput, TaskResult
from events.usage import Quantities
from inference.batch import Size, pack
from inference.errors import DeviceFull, InputRefused
from inference.models.device import copied, keep_threads, lanes_of, on_device
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

    def result(self, value: Any, vectors: torch.Tensor) -> TaskResult:  # noqa: ANN401 - the same
        """What is made of the vectors: float64 ``[len(texts), W]``, on the CPU."""

    def quantities(self, value: Any, tokens: Sequence[int]) -> Quantities:  # noqa: ANN401 - the same
        """What it may be billed by, of so many tokens read of each text, with two that frame it."""


class _Ready(Struct, frozen=True):
    """An input, or some of its rows."""

    value: TaskInput
    rows: list[list[int]]  # token ids, truncated, with special tokens, not padded; short ones first
    places: list[int]  # which of the input's texts each is of


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

    @property
    def lanes(self) -> int:
        """As many as there are cores.

        Each operation takes fractions of a millisecond, and threads that share one wait for
        each other at its end. With a core each they wait for nothing: two lanes on two cores
        embed nearly twice as many texts a second as one batch on both.
        """
        return lanes_of(self._device)

    def enter(self) -> None:
        """Keep the calling thread to one core."""
        if self._device.type == "cpu":
            keep_threads(1)

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
        """Read every text of the batch, and do the task with its vector; raises as `read`."""
        found = self.read(task, prepared)
        return [self.answer(task, one, [own]) for one, own in zip(prepared, found, strict=True)]

    @staticmethod
    def cut(prepared: Prepared, tokens: int) -> tuple[Prepared, Prepared]:
        """Cut off the shortest rows."""
        ready: _Ready = prepared.data
        widths = map(len, ready.rows)
        fit = sum(1 for count, width in enumerate(widths, 1) if count * width <= tokens)
        first = min(max(1, fit), prepared.rows - 1)
        return (
            _prepared(_Ready(ready.value, ready.rows[:first], ready.places[:first])),
            _prepared(_Ready(ready.value, ready.rows[first:], ready.places[first:])),
        )

    def read(self, task: str, parts: Sequence[Prepared]) -> Sequence[torch.Tensor]:
        """One vector for each row: float64 ``[rows, W]`` for each part, on the CPU.

        Raises:
            DeviceFull: there is no room for one of them.
        """
        rows = [row for part in parts for row in part.data.rows]
        encoded = self._encode(rows, layers=self._skills[task].layers)
        return torch.split(encoded, [part.rows for part in parts])

    def answer(self, task: str, prepared: Prepared, found: Sequence[torch.Tensor]) -> Answer:
        """Do the task with the vectors."""
        skill, ready = self._skills[task], prepared.data
        order = torch.tensor(ready.places).argsort()
        tokens = [len(ready.rows[row]) for row in order.tolist()]
        return Answer(
            skill.result(ready.value, torch.cat(list(found))[order]),
            skill.quantities(ready.value, tokens),
        )

    def states(self, texts: Sequence[str]) -> torch.Tensor:
        """What a skill for all layers is given: float64 ``[len(texts), W]``."""
        return self._encode(self._ids(texts), layers=True)

    def _encode(self, rows: Sequence[list[int]], *, layers: bool) -> torch.Tensor:
        """One vector for each row of ids, in order, by as many batches as they need."""
        batches = pack([Size(len(row)) for row in rows], budget=self._batch_tokens)
        found = [self._spared([rows[one] for one in batch], layers=layers) for batch in batches]
        order = torch.tensor([position for batch in batches for position in batch])
        return torch.cat(found)[order.argsort()]

    def _spared(self, rows: Sequence[list[int]], *, layers: bool) -> torch.Tensor:
        """As `_forward`, in as many calls as the device's memory asks for.

        Raises:
            DeviceFull: there is no room for one row.
        """
        try:
            with on_device():
                return self._forward(rows, layers=layers)
        except DeviceFull:
            if len(rows) == 1:
                raise
        # behind the handler: an error that is handled keeps what the failed call had of the device
        half = len(rows) // 2
        return torch.cat([self._spared(part, layers=layers) for part in (rows[:half], rows[half:])])

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
    places = sorted(range(len(rows)), key=lambda place: len(rows[place]))
    return _prepared(_Ready(value, [rows[place] for place in places], places))


def _prepared(ready: _Ready) -> Prepared:
    return Prepared(width=len(ready.rows[-1]), data=ready, rows=len(ready.rows))

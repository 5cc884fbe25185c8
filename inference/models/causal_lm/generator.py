"""Text from a causal language model, for several requests side by side."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import torch
from tokenizers import Tokenizer
from torch import Tensor

from inference.errors import InputRefused
from inference.models.causal_lm.attention import Plan, Reading, Writing
from inference.models.causal_lm.cache import Cache, Shelves
from inference.models.causal_lm.continuation import Continuation
from inference.models.causal_lm.draft import Computed, Draft
from inference.models.causal_lm.prompts import Prompts
from inference.models.causal_lm.request import Request, read_request
from inference.models.causal_lm.several import SeveralDrafts
from inference.models.causal_lm.vocabulary import Vocabulary
from inference.models.causal_lm.writing import completion_requests
from inference.models.device import copied, fetched, on_device
from inference.models.model import Advance, Prepared

READ: Final = 512  # tokens of an input in one call
REST: Final = 128  # that are left are read along with them: a call costs as much as these do


class CausalLM:
    """A transformer that goes on from a text.

    Nobody's text depends on the others', to the bit: matrix products of different
    shapes round differently, so every call has a shape that the others have no part
    in. An input is read by itself, in pieces of a length of its own; what is written
    goes through the model in a row of always `slots` tokens, padding included. That costs
    little: a step reads all weights, however few tokens it is for.
    """

    def __init__(
        self,
        model: Any,  # noqa: ANN401 - transformers has no type for "a causal language model"
        tokenizer: Tokenizer,
        *,
        slots: int,
        context: int,
        ends: frozenset[int],
    ) -> None:
        """Set up.

        Args:
            model: On its device, with `attention.NAME` for its attention.
            tokenizer: Its own.
            slots: Texts side by side, at most.
            context: Tokens that it can look at.
            ends: Tokens that say that a text is finished.
        """
        self._model = model
        self._device = model.device
        self._dtype = model.dtype
        self._slots = slots
        self._shelves = Shelves()
        self._context = context
        self._ends = ends
        self._tokenizer = tokenizer
        self._decoding = Tokenizer.from_str(tokenizer.to_str())  # it belongs to another thread
        self._vocabulary = Vocabulary(tokenizer, model.config.vocab_size)
        self._prompts = Prompts(tokenizer, self._vocabulary, context=context, slots=slots)
        self._unfit = torch.tensor(self._vocabulary.unfit, dtype=torch.long)

    @property
    def tasks(self) -> frozenset[str]:
        """Those that need no more than a model's text, and those that it was taught."""
        return self._prompts.tasks | {"generation", "completion"}

    def tokenize(self, task: str, inputs: Sequence[Any]) -> Sequence[Prepared | InputRefused]:
        """Token ids of what the model is to read, if it can do what is asked."""
        return [self._prepare(task, value) for value in inputs]

    def _prepare(self, task: str, value: Any) -> Prepared | InputRefused:  # noqa: ANN401 - any task's
        try:
            requests = self._requests(task, value)
        except InputRefused as refused:
            return refused
        width = max(len(request.tokens) for request in requests)
        return Prepared(width, requests, rows=sum(len(one.choosers) for one in requests))

    def _requests(self, task: str, value: Any) -> list[Request]:  # noqa: ANN401 - any task's
        """What an input asks: of one prompt, or of each of several."""
        match task:
            case "completion":
                return completion_requests(
                    value, self._tokenizer, context=self._context, slots=self._slots
                )
            case "generation":
                tokens = self._tokenizer.encode(value.text).ids
                request = read_request(
                    value,
                    tokens,
                    context=self._context,
                    slots=self._slots,
                    vocabulary=self._vocabulary,
                )
            case _:
                request = self._prompts.read(task, value)
        return [request]

    @torch.inference_mode()
    def join(self, prepared: Prepared) -> Draft | SeveralDrafts:
        """Begin a request's texts."""
        requests: list[Request] = prepared.data
        with on_device():
            caches = [Cache(self._shelves) for _ in requests]
        drafts = [
            Draft(request, cache, self._decoding, self._ends)
            for request, cache in zip(requests, caches, strict=True)
        ]
        return drafts[0] if len(drafts) == 1 else SeveralDrafts(drafts)

    @torch.inference_mode()
    def step(self, drafts: Sequence[Draft | SeveralDrafts]) -> Sequence[Advance | Exception]:
        """Read some of the inputs, and write one token of each text whose input was read.

        Raises:
            DeviceFull: there is no room for that many drafts.
        """
        parts = [draft.parts for draft in drafts]
        with on_device():
            advances = iter(self._step([part for own in parts for part in own]))
        return [
            _joined(draft, {part: next(advances) for part in own})
            for draft, own in zip(drafts, parts, strict=True)
        ]

    def _step(self, drafts: Sequence[Draft]) -> Sequence[Advance | Exception]:
        self._shelves.tidy()
        computed = self._write([draft for draft in drafts if not draft.reading])
        reading = [(draft, draft.reading) for draft in drafts if draft.reading]
        # those who write wait for one call; for two where they are fewer than who waits to write
        left = READ if len(reading) <= len(computed) else 2 * READ
        for draft, cache in reading:
            if left > 0:
                computed[draft] = self._read(draft, cache)
                left -= computed[draft].tokens
        # no draft was changed until here: if something raised, all can be done again
        return [_advance(draft, computed.get(draft)) for draft in drafts]

    def _write(self, drafts: Sequence[Draft]) -> dict[Draft, Computed]:
        """One more token of each of their texts."""
        if not drafts:
            return {}
        for draft in drafts:
            draft.part()
        caches = {text: _reserved(text) for draft in drafts for text in draft.going}
        texts = sorted(caches, key=lambda text: caches[text].place)
        padding = [0] * (self._slots - len(texts))
        scores = self._forward(
            [text.tokens[-1] for text in texts] + padding,
            [caches[text].length for text in texts] + padding,
            Writing(
                [caches[text] for text in texts],
                tokens=self._slots,
                device=self._device,
                dtype=self._dtype,
            ),
            keep=self._slots,
            of=len(texts),
        )
        found = dict(zip(texts, scores, strict=True))
        return {
            draft: Computed([found[text] for text in draft.going], len(draft.going))
            for draft in drafts
        }

    def _read(self, draft: Draft, cache: Cache) -> Computed:
        """The next of the input's tokens."""
        tokens = list(draft.unread(READ, rest=REST))
        positions = list(range(cache.length, cache.length + len(tokens)))
        cache.reserve(len(tokens))
        scores = self._forward(tokens, positions, Reading(cache), keep=1, of=1)
        return Computed(list(scores), len(tokens))

    def _forward(
        self, tokens: list[int], positions: list[int], plan: Plan, *, keep: int, of: int
    ) -> Tensor:
        """Score all V tokens as the next after each of the last `keep`.

        Returns:
            Of the first `of` of these: float32 ``[of, V]``, on the CPU.
        """
        logits: Tensor = self._model(
            input_ids=copied([tokens], self._device),
            position_ids=copied([positions], self._device),
            use_cache=False,
            logits_to_keep=keep,
            plan=plan,
        ).logits[0]
        scores = fetched(logits[:of])
        scores[:, self._unfit] = -torch.inf
        return scores


def _reserved(text: Continuation) -> Cache:
    """Its cache, with room for one more token."""
    assert text.cache is not None, "it has one as long as it goes on"
    text.cache.reserve(1)
    return text.cache


def _advance(draft: Draft, computed: Computed | None) -> Advance | Exception:
    try:
        return draft.advance(computed)
    except Exception as error:  # noqa: BLE001 - whatever it is, the other drafts are whole
        return error


def _joined(
    draft: Draft | SeveralDrafts, advances: Mapping[Draft, Advance | Exception]
) -> Advance | Exception:
    """What a step did for a request: nothing, if it failed for any of its prompts."""
    whole = {}
    for part, advance in advances.items():
        if isinstance(advance, Exception):
            return advance
        whole[part] = advance
    return draft.joined(whole)

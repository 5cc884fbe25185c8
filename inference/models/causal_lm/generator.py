"""Text from a causal language model, for several requests side by side."""

from collections.abc import Sequence
from typing import Any, Final

import torch
from tokenizers import Tokenizer
from torch import Tensor

from inference.errors import InputRefused
from inference.models.causal_lm.attention import Plan, Reading, Writing
from inference.models.causal_lm.cache import Cache, Shelves
from inference.models.causal_lm.draft import Computed, Draft
from inference.models.causal_lm.prompts import Prompts
from inference.models.causal_lm.request import Request, read_request
from inference.models.causal_lm.vocabulary import Vocabulary
from inference.models.device import copied, sparing_memory
from inference.models.model import Advance, Prepared

READ: Final = 512  # tokens of inputs in one step: those who write wait for no more


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
        self._prompts = Prompts(tokenizer, self._vocabulary, context=context)
        self._unfit = torch.tensor(self._vocabulary.unfit, dtype=torch.long)

    @property
    def tasks(self) -> frozenset[str]:
        """Those that need no more than a model's text, and those that it was taught."""
        return self._prompts.tasks | {"generation"}

    def tokenize(self, task: str, inputs: Sequence[Any]) -> Sequence[Prepared | InputRefused]:
        """Token ids of what the model is to read, if it can do what is asked."""
        return [self._prepare(task, value) for value in inputs]

    def _prepare(self, task: str, value: Any) -> Prepared | InputRefused:  # noqa: ANN401 - any task's
        try:
            request = self._request(task, value)
        except InputRefused as refused:
            return refused
        return Prepared(len(request.tokens), request)

    def _request(self, task: str, value: Any) -> Request:  # noqa: ANN401 - any task's
        if task != "generation":
            return self._prompts.read(task, value)
        return read_request(
            value,
            self._tokenizer.encode(value.text).ids,
            context=self._context,
            vocabulary=self._vocabulary,
        )

    @torch.inference_mode()
    def join(self, prepared: Prepared) -> Draft:
        """Begin a text."""
        request: Request = prepared.data
        return Draft(request, Cache(self._shelves), self._decoding, self._ends)

    @torch.inference_mode()
    def step(self, drafts: Sequence[Draft]) -> Sequence[Advance | Exception]:
        """Read some of the inputs, and write one token of each text whose input was read.

        Raises:
            DeviceFull: there is no room for that many drafts.
        """
        with sparing_memory():
            return self._step(drafts)

    def _step(self, drafts: Sequence[Draft]) -> Sequence[Advance | Exception]:
        self._shelves.tidy()
        writing = [draft for draft in drafts if not draft.reading]
        computed = dict(zip(writing, self._write(writing), strict=True)) if writing else {}
        left = READ
        for draft in drafts:
            if draft.reading and left > 0:
                computed[draft] = self._read(draft)
                left -= computed[draft].tokens
        # no draft was changed until here: if something raised, all can be done again
        return [_advance(draft, computed.get(draft)) for draft in drafts]

    def _write(self, drafts: Sequence[Draft]) -> list[Computed]:
        """One more token of each."""
        for draft in drafts:
            draft.cache.reserve(1)
        padding = [0] * (self._slots - len(drafts))
        scores = self._forward(
            [draft.unknown(1)[0] for draft in drafts] + padding,
            [draft.cache.length for draft in drafts] + padding,
            Writing(
                [draft.cache for draft in drafts],
                device=self._device,
                dtype=self._dtype,
            ),
            keep=self._slots,
        )
        return [Computed(row, 1) for row in scores[: len(drafts)]]

    def _read(self, draft: Draft) -> Computed:
        """The next of the input's tokens."""
        tokens, known = draft.unknown(READ), draft.cache.length
        positions = list(range(known, known + len(tokens)))
        draft.cache.reserve(len(tokens))
        scores = self._forward(tokens, positions, Reading(draft.cache), keep=1)
        return Computed(scores[0], len(tokens))

    def _forward(self, tokens: list[int], positions: list[int], plan: Plan, *, keep: int) -> Tensor:
        """Score all V tokens as the next after each of the last `keep`.

        Returns:
            float32 ``[keep, V]``, on the CPU.
        """
        logits: Tensor = self._model(
            input_ids=copied([tokens], self._device),
            position_ids=copied([positions], self._device),
            use_cache=False,
            logits_to_keep=keep,
            plan=plan,
        ).logits[0]
        scores = logits.float().cpu()
        scores[:, self._unfit] = -torch.inf
        return scores


def _advance(draft: Draft, computed: Computed | None) -> Advance | Exception:
    try:
        return draft.advance(computed)
    except Exception as error:  # noqa: BLE001 - whatever it is, the other drafts are whole
        return error

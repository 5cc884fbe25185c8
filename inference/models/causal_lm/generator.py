"""Text from a causal language model, for several requests side by side."""

from collections.abc import Sequence
from typing import Any, Final

import torch
from tokenizers import Tokenizer
from torch import Tensor

from events.tasks.generation import GenerationInput
from inference.errors import InputRefused
from inference.models.causal_lm.attention import Plan, Reading, Writing
from inference.models.causal_lm.cache import Cache, Shelves
from inference.models.causal_lm.draft import Computed, Draft
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

    tasks: Final = frozenset({"generation"})

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
        self._unfit = torch.tensor(self._vocabulary.unfit, dtype=torch.long)

    def tokenize(
        self, _task: str, inputs: Sequence[GenerationInput]
    ) -> Sequence[Prepared | InputRefused]:
        """Token ids of each text, if the model can do what is asked."""
        encoded = self._tokenizer.encode_batch([value.text for value in inputs])
        return [self._prepare(value, one.ids) for value, one in zip(inputs, encoded, strict=True)]

    def _prepare(self, value: GenerationInput, tokens: list[int]) -> Prepared | InputRefused:
        try:
            request = read_request(
                value, tokens, context=self._context, vocabulary=self._vocabulary
            )
        except InputRefused as refused:
            return refused
        return Prepared(len(tokens), request)

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

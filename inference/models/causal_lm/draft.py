"""One request in the making: an input that is read once, and the texts that go on from it."""

from collections.abc import Mapping, Sequence

from msgspec import UNSET, Struct
from msgspec.structs import replace
from tokenizers import Tokenizer
from torch import Tensor

from events.tasks.generation import GenerationPiece
from events.usage import Quantities
from inference.models.causal_lm.cache import Cache
from inference.models.causal_lm.continuation import Continuation
from inference.models.causal_lm.request import Request
from inference.models.model import Advance, Piece


class Computed(Struct, frozen=True):
    """What the model made of the next tokens of a draft."""

    #: Of every token: after the last that was read, or, in the order of `going`, after each
    #: text's last. float32 ``[V]`` each, on the CPU.
    scores: Sequence[Tensor]
    tokens: int  # that went through the model


class Draft:
    """The texts of one request. What the model remembers of the input is read once, and copied."""

    def __init__(
        self, request: Request, cache: Cache, tokenizer: Tokenizer, ends: frozenset[int]
    ) -> None:
        """Begin with the input.

        Args:
            request: As it was read.
            cache: Empty.
            tokenizer: For decoding; no other thread may use it.
            ends: The tokens by which the model says that it has said all.
        """
        self._request = request
        self._read: Cache | None = cache  # of the input, until each text has its own
        self._texts = [
            Continuation(request, number, tokenizer, ends)
            for number in range(len(request.choosers))
        ]

    @property
    def parts(self) -> Sequence["Draft"]:
        """Itself: it has one input."""
        return [self]

    def joined(self, advances: Mapping["Draft", Advance]) -> Advance:
        """What a step did for it."""
        return advances[self]

    @property
    def reading(self) -> Cache | None:
        """What is known of the input, as long as that is not all of it."""
        if self._read is None or self._read.length == len(self._request.tokens):
            return None
        return self._read

    @property
    def going(self) -> list[Continuation]:
        """The texts that have not ended."""
        return [text for text in self._texts if text.reason is None]

    def unread(self, most: int, *, rest: int) -> Sequence[int]:
        """The next tokens of the input, up to `most`, and the last of them if no more are left."""
        known = self._read.length if self._read else len(self._request.tokens)
        left = self._request.tokens[known:]
        return left if len(left) <= most + rest else left[:most]

    def part(self) -> None:
        """Give each text that goes on a memory of its own; may be done again if it raises."""
        if self._read is None:
            return
        first, *others = self.going
        for text in others:
            if text.cache is None:
                text.cache = self._read.copy()
        first.cache, self._read = self._read, None

    def advance(self, computed: Computed | None) -> Advance:
        """Go on by one token of each text, if the model has seen all that there are.

        Args:
            computed: None where others were read first.
        """
        if computed is None:
            return self._advance([], 0)
        going, scores = self.going, computed.scores
        if self._read is not None:
            self._read.length += computed.tokens
            if self.reading:
                return self._advance([], computed.tokens)
            scores = [scores[0].clone() for _ in going] if len(going) > 1 else scores
        for text in going:
            if text.cache is not None:
                text.cache.length += 1
        pieces = [
            Piece(piece, self.quantities)
            for text, row in zip(going, scores, strict=True)
            if (piece := self._piece(text, text.go_on(row))) is not None
        ]
        if not self.going:
            self._read = None
        return self._advance(pieces, computed.tokens)

    def _piece(self, text: Continuation, new: str) -> GenerationPiece | None:
        """What is said of a text after a step; where there are several, also that it has ended."""
        first = self._request.numbered_from
        if first is None:
            return GenerationPiece(text=new) if new else None
        if not new and text.reason is None:
            return None
        return GenerationPiece(text=new, index=first + text.number, reason=text.reason or UNSET)

    def _advance(self, pieces: Sequence[Piece], tokens: int) -> Advance:
        going = len(self.going)
        finished = [text.finished for text in self._texts] if not going else []
        return Advance(
            pieces=pieces,
            quantities=self.quantities,
            tokens=tokens,
            rows=going,
            result=self._request.result(finished) if finished else None,
            reason="length" if any(one.reason == "length" for one in finished) else "stop",
        )

    @property
    def quantities(self) -> Quantities:
        """What it has used so far."""
        return replace(
            self._request.read,
            output_tokens=sum(text.written for text in self._texts),
            output_words=sum(text.words for text in self._texts),
            output_characters=sum(text.characters for text in self._texts),
        )

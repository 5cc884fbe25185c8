"""One text in the making."""

from typing import Literal

from msgspec import Struct
from msgspec.structs import replace
from tokenizers import Tokenizer
from torch import Tensor

from events.tasks.generation import GenerationPiece
from events.usage import Quantities
from inference.models.causal_lm.cache import Cache
from inference.models.causal_lm.decoder import Decoder
from inference.models.causal_lm.request import Finished, Request
from inference.models.causal_lm.text import WrittenText
from inference.models.model import Advance


class Computed(Struct, frozen=True):
    """What the model made of the next tokens of a draft."""

    scores: Tensor  # of every token, after the last of these: float32 [V], on the CPU
    tokens: int  # how many they were


class Draft:
    """A request's tokens, what they mean, and what the model remembers of them."""

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
        self.tokens = list(request.tokens)  # read and written; the cache knows the first of them
        self.cache = cache
        self._request = request
        self._ends = ends
        self._decoder = Decoder(tokenizer, request.tokens)
        self._text = WrittenText(request.end, keep_end=request.keep_end)
        self._chooser = request.chooser()
        # how far back a bad word may begin that the next token completes
        self._reach = max(map(len, request.bad_words), default=1) - 1
        self._characters = 0

    @property
    def reading(self) -> bool:
        """Whether some of the input is not known yet."""
        return self.cache.length < len(self._request.tokens)

    @property
    def written(self) -> int:
        """Tokens that were generated."""
        return len(self.tokens) - len(self._request.tokens)

    def unknown(self, most: int) -> list[int]:
        """The next tokens, up to `most`, that the cache does not know."""
        return self.tokens[self.cache.length : self.cache.length + most]

    def advance(self, computed: Computed | None) -> Advance:
        """Go on by one token, if the model has seen all that there are.

        Args:
            computed: None where others were read first.
        """
        tokens = computed.tokens if computed else 0
        self.cache.length += tokens
        if computed is None or self.cache.length < len(self.tokens):
            return self._advance("", tokens, None)
        token = self._chooser.choose(computed.scores, self.tokens, self._is_allowed)
        if token is None:
            return self._finish("stop", tokens)
        self.tokens.append(token)
        if token in self._ends:
            return self._finish("stop", tokens)
        piece = self._write(self._decoder.take(token))
        if self._text.ended:
            return self._advance(piece, tokens, "stop")
        if self.written == self._request.new_tokens:
            return self._finish("length", tokens, piece)
        return self._advance(piece, tokens, None)

    def _finish(self, reason: Literal["stop", "length"], tokens: int, piece: str = "") -> Advance:
        piece += self._write(self._decoder.rest(), last=True)
        return self._advance(piece, tokens, "stop" if self._text.ended else reason)

    def _write(self, new: str, *, last: bool = False) -> str:
        if self._request.strip and not self._text.begun:
            new = new.lstrip()
        return self._text.write(new, last=last)

    def _advance(
        self, piece: str, tokens: int, reason: Literal["stop", "length"] | None
    ) -> Advance:
        self._characters += len(piece)
        return Advance(
            piece=GenerationPiece(text=piece) if piece else None,
            quantities=self._quantities(),
            tokens=tokens,
            result=self._request.result(self._finished()) if reason else None,
            reason=reason or "stop",
        )

    def _quantities(self) -> Quantities:
        return replace(
            self._request.read,
            output_tokens=self.written,
            output_words=self._text.words,
            output_characters=self._characters,
        )

    def _finished(self) -> Finished:
        return Finished(self._text.given, self.written, self._chooser)

    def _is_allowed(self, token: int) -> bool:
        """Whether no bad word comes about by this token and those before it."""
        if not self._request.bad_words or token in self._ends:
            return True
        text = self._text.tail(self._reach) + self._decoder.peek(token)
        return not any(word in text for word in self._request.bad_words)

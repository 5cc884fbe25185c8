"""One text that goes on from an input."""

from typing import Literal

from tokenizers import Tokenizer
from torch import Tensor

from inference.models.causal_lm.cache import Cache
from inference.models.causal_lm.decoder import Decoder
from inference.models.causal_lm.request import Finished, Request
from inference.models.causal_lm.text import WrittenText


class Continuation:
    """Its tokens, what they mean, and what the model remembers of them."""

    def __init__(
        self, request: Request, number: int, tokenizer: Tokenizer, ends: frozenset[int]
    ) -> None:
        """Begin behind the input.

        Args:
            request: As it was read.
            number: Which of the request's texts it is.
            tokenizer: For decoding; no other thread may use it.
            ends: The tokens by which the model says that it has said all.
        """
        self.number = number
        self.tokens = list(request.tokens)  # read and written; the cache knows all but the last
        self.cache: Cache | None = None  # once the input was read, until the text has ended
        self.reason: Literal["stop", "length"] | None = None  # why it has ended, once it has
        self.characters = 0
        self._request = request
        self._ends = ends
        self._decoder = Decoder(tokenizer, request.tokens)
        self._text = WrittenText(*request.ends, keep_end=request.keep_end)
        self._chooser = request.choosers[number]()
        # how far back a bad word may begin that the next token completes
        self._reach = max(map(len, request.bad_words), default=1) - 1

    @property
    def written(self) -> int:
        """Tokens that were generated."""
        return len(self.tokens) - len(self._request.tokens)

    @property
    def words(self) -> int:
        """Of what was given out."""
        return self._text.words

    @property
    def finished(self) -> Finished:
        """What was written."""
        return Finished(self._text.given, self.written, self._chooser, self.reason or "length")

    def go_on(self, scores: Tensor) -> str:
        """Choose the next token, which may end the text.

        Args:
            scores: Of every token, after the last of these: float32 ``[V]``; changed.

        Returns:
            What can be given out by now and was not.
        """
        token = self._chooser.choose(scores, self.tokens, self._is_allowed)
        if token is None:
            return self._finish("stop")
        self.tokens.append(token)
        if token in self._ends:
            return self._finish("stop")
        piece = self._write(self._decoder.take(token))
        if self._text.ended:
            return self._finish("stop", piece)
        if self.written == self._request.new_tokens:
            return self._finish("length", piece)
        return piece

    def _finish(self, reason: Literal["stop", "length"], piece: str = "") -> str:
        if not self._text.ended:
            piece += self._write(self._decoder.rest(), last=True)
        self.reason = "stop" if self._text.ended else reason
        self.cache = None
        return piece

    def _write(self, new: str, *, last: bool = False) -> str:
        if self._request.strip and not self._text.begun:
            new = new.lstrip()
        piece = self._text.write(new, last=last)
        self.characters += len(piece)
        return piece

    def _is_allowed(self, token: int) -> bool:
        """Whether no bad word comes about by this token and those before it."""
        if not self._request.bad_words or token in self._ends:
            return True
        text = self._text.tail(self._reach) + self._decoder.peek(token)
        return not any(word in text for word in self._request.bad_words)

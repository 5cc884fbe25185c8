"""Tokens into text, one by one."""

from collections.abc import Sequence
from typing import Final

from tokenizers import Tokenizer

from inference.models.causal_lm.vocabulary import CUT

_BEFORE: Final = 6  # tokens before the first: some decoders drop the space of a text's first


class Decoder:
    """Says what each token adds, and never a part of a character.

    Tokens are bytes to some models, so one emoji may be four of them; what one says
    may also depend on the one before.

    Source: the incremental detokenization of text-generation-inference and vLLM.
    """

    def __init__(self, tokenizer: Tokenizer, before: Sequence[int]) -> None:
        """Begin behind the tokens `before`."""
        self._tokenizer = tokenizer
        self._tokens = list(before[-_BEFORE:])  # those that were said last, and all since
        self._said = len(self._tokens)  # how many of them were said
        self._text = tokenizer.decode(self._tokens)  # what these say

    def peek(self, token: int) -> str:
        """All that would be unsaid after `token`, the beginnings of a character as `CUT`."""
        return self._tokenizer.decode([*self._tokens, token])[len(self._text) :]

    def take(self, token: int) -> str:
        """What can be said after `token`; empty while a character is incomplete."""
        new = self.peek(token)
        self._tokens.append(token)
        if not new or new.endswith(CUT):
            return ""
        del self._tokens[: self._said]
        self._said = len(self._tokens)
        self._text = self._tokenizer.decode(self._tokens)
        return new

    def rest(self) -> str:
        """What is unsaid at the end, without a character that was never completed."""
        return self._tokenizer.decode(self._tokens)[len(self._text) :].rstrip(CUT)

"""What the tokens of a model say."""

import re
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Final

from tokenizers import Tokenizer

from events.tasks.writing import TOKEN_CHARACTERS

CUT: Final = "\N{REPLACEMENT CHARACTER}"  # what a decoder makes of a character's first bytes
_BETWEEN: Final = "\x00"


class Vocabulary:
    """The texts of all tokens."""

    def __init__(self, tokenizer: Tokenizer, size: int) -> None:
        """Decode every token.

        Args:
            tokenizer: The model's.
            size: Tokens that the model gives a score to; some have more than have a text.
        """
        texts = tokenizer.decode_batch([[number] for number in range(size)])
        self.unfit: Sequence[int] = [
            number for number, text in enumerate(texts) if not _is_fit(text)
        ]
        self._all = _BETWEEN.join(texts)
        self._starts = list(accumulate((len(text) + 1 for text in texts), initial=0))

    def containing(self, word: str) -> set[int]:
        """The tokens whose text contains `word`."""
        found = re.finditer(re.escape(word), self._all)
        return {bisect_right(self._starts, match.start()) - 1 for match in found}

    def beginning(self, characters: str) -> list[int]:
        """The tokens whose text begins with one of `characters`."""
        found = re.finditer(f"{_BETWEEN}[{re.escape(characters)}]", self._all)
        return [bisect_right(self._starts, match.start() + 1) - 1 for match in found]


def _is_fit(text: str) -> bool:
    """Whether a token is as small as a budget's hold assumes (`generation.most`)."""
    return len(text) <= TOKEN_CHARACTERS and len(text.split()) <= 1

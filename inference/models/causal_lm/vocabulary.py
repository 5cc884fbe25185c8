"""What the tokens of a model say."""

from collections.abc import Sequence
from typing import Final

from tokenizers import Tokenizer

from events.tasks.task import TOKEN_CHARACTERS

CUT: Final = "\N{REPLACEMENT CHARACTER}"  # what a decoder makes of a character's first bytes


class Vocabulary:
    """The texts of all tokens."""

    def __init__(self, tokenizer: Tokenizer, size: int) -> None:
        """Decode every token.

        Args:
            tokenizer: The model's.
            size: Tokens that the model gives a score to; some have more than have a text.
        """
        self._texts = tokenizer.decode_batch([[number] for number in range(size)])
        self.unfit: Sequence[int] = [
            number for number, text in enumerate(self._texts) if not _is_fit(text)
        ]

    def containing(self, word: str) -> set[int]:
        """The tokens whose text contains `word`; as quick for a letter as for a rare word."""
        return {number for number, text in enumerate(self._texts) if word in text}

    def beginning(self, characters: str) -> list[int]:
        """The tokens whose text begins with one of `characters`."""
        first = tuple(characters)
        return [number for number, text in enumerate(self._texts) if text.startswith(first)]


def _is_fit(text: str) -> bool:
    """Whether a token is as small as a budget's hold assumes (`generation.most`)."""
    return len(text) <= TOKEN_CHARACTERS and len(text.split()) <= 1

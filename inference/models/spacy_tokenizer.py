"""spaCy's tokenizer, kept from texts that would hold it up."""

import re
from collections.abc import Callable, Iterator
from typing import Final

from spacy.tokens import Doc

PIECE: Final = 256  # characters; a text of 100,000 marks takes a second in such pieces

_UNBROKEN: Final = re.compile(rf"\S{{{PIECE + 1},}}")


class InPieces:
    """Gives long runs of characters without a space to a tokenizer piece by piece.

    It takes marks off both ends of a run one by one, and looks at all that is left
    each time: a run of 8,000 exclamation marks took seconds, 100,000 an hour.
    """

    def __init__(self, tokenizer: Callable[[str], Doc]) -> None:
        self._tokenizer = tokenizer

    def __call__(self, text: str) -> Doc:
        """The tokens of a text; those at the end of a piece end there."""
        pieces = [self._tokenizer(piece) for piece in _pieces(text)]
        if len(pieces) == 1:
            return pieces[0]
        tokens = [token for piece in pieces for token in piece]
        return Doc(
            pieces[0].vocab,
            words=[token.text for token in tokens],
            spaces=[bool(token.whitespace_) for token in tokens],
        )


def _pieces(text: str) -> Iterator[str]:
    done = 0
    for run in _UNBROKEN.finditer(text):
        for cut in range(run.start() + PIECE, run.end(), PIECE):
            yield text[done:cut]
            done = cut
    yield text[done:]

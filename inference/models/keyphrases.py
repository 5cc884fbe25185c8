"""Which phrases of a text say best what it is about, by vectors of its phrases and its own.

Source: KeyBERT (Grootendorst, 2020): phrases without function words, ranked by maximal
marginal relevance (Carbonell and Goldstein, 1998).
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from textwrap import wrap
from typing import Final

import numpy as np
from numpy.typing import NDArray

from inference.models.english import COMMON

LONGEST: Final = 3  # words of a phrase
CANDIDATES: Final = 256  # phrases that are compared: the frequent ones, of these the first
PIECE: Final = 800  # characters: some 180 tokens of English, and most encoders read 256
RELEVANCE: Final = 0.6  # the rest is what a phrase loses by being like one that is there

_APOSTROPHES: Final = "'\N{RIGHT SINGLE QUOTATION MARK}"
_WORD: Final = re.compile(rf"[^\W_]+(?:[{_APOSTROPHES}\-][^\W_]+)*")
_DECIMALS: Final = 4
_GAP: Final = re.compile(r"[ \t\n]*")  # between words of one phrase: no comma, no full stop


def pieces(text: str) -> list[str]:
    """The text, cut between words into pieces that an encoder reads to their ends."""
    return wrap(text, PIECE) or [text]


def candidates(text: str) -> list[str]:
    """The phrases of one to `LONGEST` words that may say what a text is about.

    Returns:
        Each once, as it is first written, in the text's order; `CANDIDATES` at most.
    """
    written: dict[str, str] = {}
    times: Counter[str] = Counter()
    for phrase in _phrases(text):
        written.setdefault(phrase.lower(), phrase)
        times[phrase.lower()] += 1
    chosen = {phrase for phrase, _ in times.most_common(CANDIDATES)}  # stable: of equals the first
    return [phrase for key, phrase in written.items() if key in chosen]


def choose(text: NDArray[np.float64], phrases: NDArray[np.float64], most: int) -> Sequence[int]:
    """Choose phrases that are near the text, and not near each other.

    Args:
        text: Its vector, ``[D]``, of length one.
        phrases: Those of the phrases, ``[N, D]``, each of length one.
        most: How many to choose.

    Returns:
        Positions in `phrases`, the best first.
    """
    # rounded: what is the same but for the order of additions ties, and the first is taken
    near, alike = (phrases @ text).round(_DECIMALS), (phrases @ phrases.T).round(_DECIMALS)
    chosen: list[int] = []
    left = list(range(len(phrases)))
    while left and len(chosen) < most:
        known = alike[np.ix_(left, chosen)].max(1) if chosen else np.zeros(len(left))
        best = left[int((RELEVANCE * near[left] - (1 - RELEVANCE) * known).argmax())]
        chosen.append(best)
        left.remove(best)
    return chosen


def _phrases(text: str) -> Iterator[str]:
    run: list[re.Match[str]] = []
    for word in _WORD.finditer(text):
        if run and not _GAP.fullmatch(text, run[-1].end(), word.start()):
            run = []
        if _is_common(word[0]):
            run = []
            continue
        run = [*run[1 - LONGEST :], word]
        for first in run:
            yield " ".join(text[first.start() : word.end()].split())


def _is_common(word: str) -> bool:
    """Whether a word says nothing of a text's subject by itself."""
    stem = re.split(f"[{_APOSTROPHES}]", word.lower())[0]
    return stem in COMMON or len(word) < 2 or word.isdecimal()  # noqa: PLR2004 - a single letter

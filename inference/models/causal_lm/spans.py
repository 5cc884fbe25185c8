"""Choosing tokens so that they spell words of a given text: an answer that stands there."""

import math
import re
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import chain
from typing import Final

from msgspec import Struct
from tokenizers import Tokenizer
from torch import Tensor

from inference.models.english import COMMON

# these were chosen on the questions of tests/bench/questions.py, which prints what they do
LIKENESS: Final = 3.0  # of a sentence with the question: e times as likely, for a third of it
TRUST: Final = 0.3  # in the model, where an answer begins: the exponent of its chances
NEAR: Final = 4.0  # words from one of the question's: an e-th as likely
FAR: Final = 12  # and no less likely beyond
_STEM: Final = 5  # letters by which words count as the same: open, opens, opened
_SIGNS: Final = "$€£#%°"  # that belong to the number beside them
_STOPS: Final = (".", "!", "?", ";")  # end a sentence where a space or nothing follows
_SPACE: Final = re.compile(r"\s")
_WRITTEN: Final = re.compile(r"\S")
_WORD: Final = re.compile(r"\w+")
_SENTENCE: Final = re.compile(r"[.!?]\s+|\n\n\s*|$")
_SHORT: Final = re.compile(r"\b[A-Z]\w{0,2}$")  # J. K. Rowling, Dr. Who: no sentence ends there
_INSIDE: Final = re.compile(r"[.,]\d")  # of a number


# where what was chosen may be from: the first of its tokens, and the one that is next
Place = tuple[int, int]


class Span(Struct, frozen=True):
    """Characters ``[start, end)`` of a passage."""

    start: int
    end: int


class Passage:
    """A text whose words may answer a question: where an answer may begin, go on and end.

    It begins with a word that is neither the question's nor one that names nothing,
    unless the text has no others.
    """

    def __init__(self, text: str, question: str, tokenizer: Tokenizer) -> None:
        self._text = text
        # as behind a space, for an answer's first word is written like that
        encoded = tokenizer.encode(" " + _SPACE.sub(" ", text))  # a line's end is a space, too
        self.tokens: Sequence[int] = encoded.ids
        self._ranges = [(max(0, start - 1), end - 1) for start, end in encoded.offsets]
        self._written = [found.start() for found in _WRITTEN.finditer(text)]
        starts = [at for at in range(len(self.tokens)) if self._may_start(at)]
        asked = {_stem(word) for word in _WORD.findall(question)}
        new = [at for at in starts if self._names(at, besides=asked)]
        ends, weights = zip(*_sentences(text, question), strict=True)
        near = _Nearness(text, question)
        # first tokens, and what the question's words in their sentences and near them say
        self.starts = {
            at: weights[bisect_right(ends, self._word(at))] * near.weight(self._word(at))
            for at in new or starts
        }

    def may_end(self, at: int) -> bool:
        """Whether a word or a number ends in front of token `at`."""
        end = self._ranges[at - 1][1]
        return (
            _is_word(self._text[end - 1 : end])
            and not _is_word(self._text[end : end + 1])
            and not _INSIDE.match(self._text, end)
        )

    def goes_on(self, at: int) -> bool:
        """Whether token `at` is of the same sentence as the one before."""
        if at == len(self.tokens):
            return False
        start, end = self._ranges[at]
        said, behind = self._text[start:end], self._text[end : end + 1]
        if "\n\n" in self._text[max(0, start - 1) : end + 1]:
            return False
        if not said.strip().startswith(_STOPS) or (behind and not behind.isspace()):
            return True
        return bool(said == "." and behind and _SHORT.search(self._text, max(0, start - 4), start))

    def span(self, first: int, behind: int) -> Span:
        """Where the tokens ``[first, behind)`` are, without a word that was cut short.

        If that is the only one, with the rest of it.
        """
        shorter = range(behind, first, -1)
        longer = range(behind, len(self.tokens) + 1)
        ends = (at for at in chain(shorter, longer) if self.may_end(at))
        return Span(self._word(first), self._ranges[next(ends, len(self.tokens)) - 1][1])

    def _word(self, at: int) -> int:
        """Where the word begins that token `at` begins; digits have their space before them."""
        # not by walking: each of a thousand tokens of space would walk to the next word
        found = bisect_left(self._written, self._ranges[at][0])
        return self._written[found] if found < len(self._written) else len(self._text)

    def _may_start(self, at: int) -> bool:
        start = self._word(at)
        before = self._text[max(0, self._ranges[at][0] - 1) : start][-1:]
        return _is_word(self._text[start : start + 1]) and not before.isalnum()

    def _names(self, at: int, *, besides: Collection[str]) -> bool:
        word = _WORD.match(self._text, self._word(at))
        return word is None or not (word[0].lower() in COMMON or _stem(word[0]) in besides)


class SpanChooser:
    """Follows the likeliest words of a passage, to where the model would end its answer.

    Where it begins, the question's words in a sentence and near by have a say, as a prior:
    a small model alone takes any name for an answer.

    Source: constrained decoding, as in GENRE (De Cao et al., 2021), there over a trie.
    """

    def __init__(self, passage: Passage, ends: Sequence[int]) -> None:
        """Begin.

        Args:
            passage: To choose from.
            ends: The tokens by which the model ends an answer.
        """
        self._passage = passage
        self._ends = ends
        self._places: list[Place] = [(at, at) for at in passage.starts]
        self.score = 1.0  # the product of each choice's share of what could be chosen

    @property
    def span(self) -> Span:
        """What was chosen; if the passage has it several times, the first."""
        return self._passage.span(*self._places[0])

    def choose(
        self, scores: Tensor, _before: Sequence[int], _allowed: Callable[[int], bool]
    ) -> int | None:
        """As `Chooser.choose`."""
        chances = scores.float().softmax(0)
        following = self._following()
        likely = dict(zip(following, chances[list(following)].tolist(), strict=True))
        begun = all(at > first for first, at in self._places)
        found = likely if begun else self._weighed(likely, following)
        ending = [(first, at) for first, at in self._places if begun and self._passage.may_end(at)]
        end = float(chances[self._ends].sum()) if ending or not found else 0.0
        best = max(found, key=lambda token: found[token], default=None)
        if best is None or end > found[best]:
            self._places = ending or self._places
            best = None
        else:
            self._places = following[best]
        share = (end if best is None else found[best]) / (sum(found.values()) + end or 1.0)
        self.score *= min(1.0, share)
        return best

    def _following(self) -> dict[int, list[Place]]:
        """The tokens that can be next, and where each leads."""
        following: dict[int, list[Place]] = {}
        for first, at in self._places:
            if at == first or self._passage.goes_on(at):
                following.setdefault(self._passage.tokens[at], []).append((first, at + 1))
        return following

    def _weighed(
        self, likely: Mapping[int, float], following: Mapping[int, Sequence[Place]]
    ) -> dict[int, float]:
        """How likely an answer begins with each token, all told."""
        weights = self._passage.starts
        return {
            token: chance**TRUST * max(weights[first] for first, _ in following[token])
            for token, chance in likely.items()
        }


class _Nearness:
    """How near the words of a text are to those that the question has as well."""

    def __init__(self, text: str, question: str) -> None:
        asked = {_stem(word) for word in _WORD.findall(question) if word.lower() not in COMMON}
        words = list(_WORD.finditer(text))
        self._begins = [word.start() for word in words]
        self._asked = [number for number, word in enumerate(words) if _stem(word[0]) in asked]

    def weight(self, begin: int) -> float:
        """Of the word that begins there: 1 beside one of the question's."""
        number = bisect_left(self._begins, begin)
        at = bisect_left(self._asked, number)
        beside = self._asked[max(0, at - 1) : at + 1]
        words = min((abs(one - number) - 1 for one in beside), default=FAR)
        return math.exp(-min(max(words, 0), FAR) / NEAR)


def _sentences(text: str, question: str) -> Iterator[tuple[float, float]]:
    """Where each sentence ends, and its weight: 1 for the likest to the question."""
    ends = [found.end() for found in _SENTENCE.finditer(text)]
    stems = [
        {_stem(word) for word in _WORD.findall(text[start:end])}
        for start, end in zip([0, *ends], ends, strict=False)
    ]
    times = Counter(stem for some in stems for stem in some)
    rare = {
        _stem(word): math.log(1 + len(ends) / times[_stem(word)])
        for word in _WORD.findall(question)
        if word.lower() not in COMMON and _stem(word) in times
    }
    whole = sum(rare.values()) or 1.0
    shared = [sum(rare[stem] for stem in some & rare.keys()) / whole for some in stems]
    for end, share in zip([*ends[:-1], math.inf], shared, strict=True):
        yield end, math.exp(LIKENESS * (share - max(shared)))


def _stem(word: str) -> str:
    return word[:_STEM].lower()


def _is_word(character: str) -> bool:
    return character.isalnum() or (bool(character) and character in _SIGNS)

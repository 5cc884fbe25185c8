"""The text that a model has written, and how much of it may be given out."""


class WrittenText:
    """Grows by pieces; ends where the first of its end sequences does."""

    def __init__(self, *ends: str, keep_end: bool) -> None:
        """Begin empty.

        Args:
            ends: What ends the text, wherever it comes from.
            keep_end: Whether it belongs to the text that it ends.
        """
        self._ends = ends
        self._longest = max(map(len, ends), default=0)
        self._keep_end = keep_end
        self._text = ""
        self._given = 0
        self._in_word = False
        self.words = 0  # of what was given out
        self.ended = False

    @property
    def begun(self) -> bool:
        """Whether anything was written."""
        return bool(self._text)

    @property
    def given(self) -> str:
        """All that was given out."""
        return self._text[: self._given]

    def tail(self, characters: int) -> str:
        """The last of what was written."""
        return self._text[-characters:] if characters else ""

    def write(self, new: str, *, last: bool = False) -> str:
        """Append to the text; `last` if nothing more will come.

        Returns:
            What can be given out and was not. What may turn out to be the beginning of
            an end that is left out is held back.
        """
        if not self._ends:
            self._text += new
            return self._give(len(self._text))
        since = max(0, len(self._text) - self._longest + 1)
        self._text += new
        if found := [(at, end) for end in self._ends if (at := self._text.find(end, since)) >= 0]:
            at, end = min(found, key=_first)
            self.ended = True
            self._text = self._text[: at + len(end) * self._keep_end]
        held = 0
        if not (self.ended or last or self._keep_end):
            held = max(_overlap(self._text, end) for end in self._ends)
        return self._give(len(self._text) - held)

    def _give(self, until: int) -> str:
        piece = self._text[self._given : until]
        self._given = until
        if piece:
            goes_on = self._in_word and not piece[0].isspace()
            self.words += len(piece.split()) - goes_on
            self._in_word = not piece[-1].isspace()
        return piece


def _first(found: tuple[int, str]) -> tuple[int, int]:
    """Of those that are whole: the one that was so first, then the longest."""
    at, end = found
    return at + len(end), at


def _overlap(text: str, end: str) -> int:
    """How many of the text's last characters are the first of `end`."""
    longest = min(len(text), len(end) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(end[:n])), 0)

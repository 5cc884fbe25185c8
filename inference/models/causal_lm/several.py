"""Drafts of several prompts that one request brings."""

from collections.abc import Mapping, Sequence

import msgspec

from events.tasks.completion import CompletionResult
from events.tasks.writing import Written
from events.usage import Quantities
from inference.models.causal_lm.draft import Draft
from inference.models.model import Advance, Piece


class SeveralDrafts:
    """One after the other in the answer, side by side in the model."""

    def __init__(self, drafts: Sequence[Draft]) -> None:
        """Begin them all."""
        self._used = {draft: draft.quantities for draft in drafts}  # as far as it was said
        self._results: dict[Draft, CompletionResult] = {}

    @property
    def parts(self) -> Sequence[Draft]:
        """Those that have not ended."""
        return [draft for draft in self._used if draft not in self._results]

    def joined(self, advances: Mapping[Draft, Advance]) -> Advance:
        """What a step did for the request.

        Args:
            advances: Of all `parts`.
        """
        pieces = []
        for draft, advance in advances.items():
            for piece in advance.pieces:
                self._used[draft] = piece.quantities
                pieces.append(Piece(piece.said, self._quantities()))
            self._used[draft] = advance.quantities
            if isinstance(advance.result, CompletionResult):
                self._results[draft] = advance.result
        rows = sum(advance.rows for advance in advances.values())
        texts = [text for draft in self._used for text in self._texts(draft)] if not rows else []
        return Advance(
            pieces=pieces,
            quantities=self._quantities(),
            tokens=sum(advance.tokens for advance in advances.values()),
            rows=rows,
            result=CompletionResult(texts=texts) if texts else None,
            reason="length" if any(text.reason == "length" for text in texts) else "stop",
        )

    def _texts(self, draft: Draft) -> Sequence[Written]:
        return self._results[draft].texts

    def _quantities(self) -> Quantities:
        """What all of them have used, as one request."""
        each = [msgspec.structs.asdict(used) for used in self._used.values()]
        sums = {name: sum(used[name] for used in each) for name in each[0]}
        return Quantities(**{**sums, "requests": 1})

"""Choosing the next token."""

import hashlib
from collections.abc import Callable, Collection, Sequence
from typing import Final

import torch
from msgspec import Struct
from msgspec.structs import replace
from torch import Tensor

_TRIES: Final = 64  # tokens that may be turned down before the text is ended instead
_LIKELY: Final = 1_024  # tokens that are looked at first for `top_p`: to sort all takes 3 ms
_COLD: Final = 1e-6  # below it float32 would divide by nothing, and the likeliest is all there is


class Choice(Struct, frozen=True, kw_only=True):
    """How the tokens of one text are to be chosen."""

    temperature: float  # 0: always the likeliest
    top_k: int  # 0: of all
    top_p: float
    repetition_penalty: float
    seed: int | None


def spread(choice: Choice, texts: int) -> list[Choice]:
    """The choices of a request's texts: luck of its own for each, by the request's seed.

    The first has that seed itself: it is what the request alone would get. The others'
    are hashed, since seeds beside each other may be another request's.
    """
    if choice.seed is None:
        return [choice] * texts
    hashed = (
        hashlib.sha256(f"{choice.seed} {number}".encode()).digest() for number in range(1, texts)
    )
    return [choice, *(replace(choice, seed=int.from_bytes(one[:7])) for one in hashed)]


class Sampler:
    """One text's luck: its own, whoever is generated beside it.

    On the CPU, so that a seed says the same on every device.
    """

    def __init__(self, choice: Choice, never: Collection[int]) -> None:
        """Begin.

        Args:
            choice: The text's.
            never: Tokens that are not to be chosen.
        """
        self._choice = choice
        self._never = torch.tensor(sorted(never), dtype=torch.long)
        self._generator = torch.Generator()
        if choice.seed is None:
            self._generator.seed()
        else:
            self._generator.manual_seed(choice.seed)

    def choose(
        self, scores: Tensor, before: Sequence[int], allowed: Callable[[int], bool]
    ) -> int | None:
        """Choose a token.

        Args:
            scores: One for each token, of any dtype; changed.
            before: The tokens of the text so far, input included.
            allowed: Asked of the one that is chosen; if not, another is.

        Returns:
            The token; None where none was found that is allowed.

        Source: transformers' logits processors, in the order that `generate` has them.
        """
        scores = scores.float()
        if self._choice.repetition_penalty != 1:
            seen = torch.tensor(sorted(set(before)))
            old, penalty = scores[seen], self._choice.repetition_penalty
            scores[seen] = torch.where(old < 0, old * penalty, old / penalty)
        scores[self._never] = -torch.inf
        for _ in range(_TRIES):
            token = self._pick(scores)
            if allowed(token):
                return token
            scores[token] = -torch.inf
        return None

    def _pick(self, scores: Tensor) -> int:
        choice = self._choice
        if choice.temperature < _COLD:
            return int(scores.argmax())
        tokens = None
        if choice.top_k:
            scores, tokens = scores.topk(min(choice.top_k, len(scores)))
        # less the greatest: a temperature near zero must not make infinities of all
        chances = ((scores - scores.max()) / choice.temperature).softmax(0)
        if choice.top_p < 1:
            if tokens is None:
                chances, tokens = _likeliest(chances, choice.top_p)
            likelier = chances.cumsum(0) - chances  # sorted: what all before it add up to
            likelier[0] = -1  # the likeliest stays, however small `top_p`
            chances[likelier >= choice.top_p] = 0
        picked = _draw(chances, self._generator)
        return picked if tokens is None else int(tokens[picked])


def _likeliest(chances: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """The likeliest tokens, in order, and their chances: so many that these are `share` or more."""
    found, tokens = chances.topk(min(_LIKELY, len(chances)))
    if found.sum() < share:
        found, tokens = chances.topk(len(chances))
    return found, tokens


def _draw(chances: Tensor, generator: torch.Generator) -> int:
    """One of them, by luck; `multinomial` draws a number for each, which takes a millisecond.

    Raises:
        ValueError: they are no chances, for the scores were no numbers.
    """
    until = chances.double().cumsum(0)
    if not until[-1] > 0:
        raise ValueError("no token has a chance")
    drawn = until[-1] * torch.rand((), dtype=torch.float64, generator=generator)
    # by rounding it may be all there is, and then the last that has a chance is meant
    last = torch.searchsorted(until, until[-1])
    return min(int(torch.searchsorted(until, drawn, right=True)), int(last))

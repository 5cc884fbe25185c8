"""What is made of a sentence's vector: similarities, labels, moods."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import torch
from msgspec import Struct
from safetensors import safe_open
from tokenizers import Tokenizer

from events.tasks.classification import ClassificationInput, ClassificationResult
from events.tasks.embeddings import EmbeddingsInput, EmbeddingsResult
from events.tasks.kw_kp_extraction import MOST, KeyphrasesInput, KeyphrasesResult
from events.tasks.semantic_similarity import SemanticSimilarityInput, SemanticSimilarityResult
from events.tasks.sentiment import ScoredLabel, SentimentInput, SentimentResult
from events.tasks.task import read_spelled, read_texts
from events.usage import Quantities
from inference.errors import InputRefused
from inference.models import keyphrases

DECIMALS: Final = 7  # what float32 holds of numbers below one; more only lengthens answers
SENTIMENT: Final = Path(__file__).parent / "sentiment.safetensors"  # deploy/local/sentiment.py


class Embedding(Struct, frozen=True):
    """The vectors themselves."""

    layers = False

    tokenizer: Tokenizer  # the model's, and nobody else's: what is billed is counted as text
    width: int  # of a vector

    def texts(self, value: EmbeddingsInput) -> Sequence[str | list[int]]:
        """The sentences.

        Raises:
            InputRefused: vectors of another width, or a token that there is not.
        """
        if value.dimensions not in (None, self.width):
            raise InputRefused(
                "unsupported_parameter",
                f"This model's vectors have {self.width} numbers; leave dimensions out.",
                param="dimensions",
            )
        known = self.tokenizer.get_vocab_size()
        greatest = max((max(one) for one in value.sentences if not isinstance(one, str)), default=0)
        if greatest >= known:
            raise InputRefused(
                "unknown_token",
                f"Token {greatest} is none of this model's, which has {known:,}.",
                param="sentences",
            )
        return value.sentences

    def result(self, _value: EmbeddingsInput, vectors: torch.Tensor) -> EmbeddingsResult:
        """One vector for each."""
        return EmbeddingsResult(embeddings=vectors.round(decimals=DECIMALS).tolist())

    def quantities(self, value: EmbeddingsInput, tokens: Sequence[int]) -> Quantities:
        """All that was read."""
        spelled = [
            one if isinstance(one, str) else self.tokenizer.decode(one, skip_special_tokens=False)
            for one in value.sentences
        ]
        return read_spelled(value.sentences, spelled, input_tokens=sum(tokens))


class Similarity:
    """The cosine of two vectors."""

    layers: Final = False

    def texts(self, value: SemanticSimilarityInput) -> Sequence[str]:
        """The two."""
        return value.sentences

    def result(
        self, _value: SemanticSimilarityInput, vectors: torch.Tensor
    ) -> SemanticSimilarityResult:
        """Their product: both have length one, but for what rounding adds."""
        cosine = float((vectors[0] @ vectors[1]).clamp(-1, 1))
        return SemanticSimilarityResult(score=round(cosine, DECIMALS))

    def quantities(self, value: SemanticSimilarityInput, tokens: Sequence[int]) -> Quantities:
        """All that was read."""
        return read_texts(value.sentences, input_tokens=sum(tokens))


class ZeroShot:
    """How near a text is to a sentence about each label.

    The sentence and the three numbers were chosen on 48 sentences about twelve topics,
    which `tests/bench/classification.py` prints: the label by itself is found less often.
    """

    layers: Final = False

    _SENTENCE: Final = "This is about {}."
    _ADDED: Final = 4  # tokens of it; nobody pays for them
    _SHARPNESS: Final = 0.02  # cosines so far apart: e times as likely
    _EVEN: Final = 0.15  # the cosine at which a label fits as likely as not
    _SLOPE: Final = 0.03  # and so much further: e times the odds

    def texts(self, value: ClassificationInput) -> Sequence[str]:
        """The text, then a sentence for each label."""
        return [value.text, *map(self._SENTENCE.format, value.labels)]

    def result(self, value: ClassificationInput, vectors: torch.Tensor) -> ClassificationResult:
        """Scores of each label by itself, or of all against each other."""
        cosines = vectors[1:] @ vectors[0]
        if value.multi_class is False:
            scores = (cosines / self._SHARPNESS).softmax(0)
        else:
            scores = ((cosines - self._EVEN) / self._SLOPE).sigmoid()
        best = scores.argsort(descending=True, stable=True).tolist()
        return ClassificationResult(
            labels=[value.labels[position] for position in best],
            scores=scores[best].round(decimals=DECIMALS).tolist(),
        )

    def quantities(self, value: ClassificationInput, tokens: Sequence[int]) -> Quantities:
        """The text and the labels, without the sentences around them."""
        own = sum(tokens) - self._ADDED * len(value.labels)
        return read_texts([value.text, *value.labels], input_tokens=own)


class Keyphrases:
    """The phrases of a text that are nearest to it, and not to each other."""

    layers: Final = False

    def texts(self, value: KeyphrasesInput) -> Sequence[str]:
        """The text in pieces that can be read whole, then its phrases."""
        return [*keyphrases.pieces(value.text), *keyphrases.candidates(value.text)]

    def result(self, value: KeyphrasesInput, vectors: torch.Tensor) -> KeyphrasesResult:
        """Up to ten of them."""
        phrases = keyphrases.candidates(value.text)
        pieces = len(vectors) - len(phrases)
        text = torch.nn.functional.normalize(vectors[:pieces].mean(0), dim=0)
        chosen = keyphrases.choose(text.numpy(), vectors[pieces:].numpy(), MOST)
        return KeyphrasesResult(keywords_and_keyphrases=[phrases[at] for at in chosen])

    def quantities(self, value: KeyphrasesInput, tokens: Sequence[int]) -> Quantities:
        """The text, framed once; nobody pays for the phrases."""
        own = tokens[: len(keyphrases.pieces(value.text))]
        return read_texts([value.text], input_tokens=sum(own) - 2 * (len(own) - 1))


class Mood(Struct, frozen=True):
    """Positive or negative, by a line through the means of all layers."""

    layers = True

    encoder: str  # the package whose model it was trained on
    weight: torch.Tensor  # float64 [W]
    bias: float

    def texts(self, value: SentimentInput) -> Sequence[str]:
        """The text.

        Raises:
            InputRefused: a target, of which the whole text's mood says nothing.
        """
        if value.target is not None:
            raise InputRefused(
                "unsupported_parameter",
                "This model tells the mood of the whole text and of no target; leave it out.",
                param="target",
            )
        return [value.text]

    def result(self, _value: SentimentInput, vectors: torch.Tensor) -> SentimentResult:
        """The odds, as logistic regression has them."""
        positive = round(float((vectors[0] @ self.weight + self.bias).sigmoid()), DECIMALS)
        labels = [
            ScoredLabel(label="POSITIVE", score=positive),
            ScoredLabel(label="NEGATIVE", score=round(1 - positive, DECIMALS)),
        ]
        return SentimentResult(scored_labels=sorted(labels, key=lambda one: -one.score))

    def quantities(self, value: SentimentInput, tokens: Sequence[int]) -> Quantities:
        """All that was read."""
        return read_texts([value.text], input_tokens=sum(tokens))


def read_mood() -> Mood:
    """The weights that are checked in."""
    with safe_open(SENTIMENT, "pt") as file:
        return Mood(
            encoder=file.metadata()["encoder"],
            weight=file.get_tensor("weight").double(),
            bias=float(file.get_tensor("bias")),
        )

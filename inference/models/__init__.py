"""Models: one module for each kind of source, imported when a model asks for it.

A module here has a function ``load(where, declared)`` for a `Model` or a `Generator`.
Torch and spaCy take seconds to import, and a worker that serves neither never pays
for them.
"""

import os
import sys
from collections.abc import Mapping
from importlib import import_module, util
from pathlib import Path
from typing import Final

from events.models import ModelDeclared
from inference.errors import ModelUnfit
from inference.models.model import Generator, Model

__all__ = ["FOLDERS", "check_vocabulary", "load", "package_folder"]

# read when torch is imported: its threads wait for each other hundreds of times for one
# token, and by default they burn the core that the other one needs. Beside other busy
# processes a step of SmolLM2 took 200 to 1,700 ms, and takes 70
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

FOLDERS: Final = Path(sys.prefix) / "lib" / "tollgate-models"  # what `make setup` converts

_KINDS: Final = {
    "apertium": "inference.models.apertium",
    "causal-lm": "inference.models.causal_lm",
    "echo": "inference.models.echo",
    "py3langid": "inference.models.py3langid",
    "seq2seq": "inference.models.seq2seq",
    "sentence-transformers": "inference.models.sentence_transformers",
    "spacy": "inference.models.spacy",
}


def load(declared: ModelDeclared) -> Model | Generator:
    """Load a declared model; blocks for as long as that takes.

    Raises:
        ModelUnfit: there is no such kind of source, it is not installed, it cannot be
            read, or it does not do every task that is declared.
    """
    kind, _, where = declared.source.partition(":")
    if kind not in _KINDS:
        known = ", ".join(_KINDS)
        raise ModelUnfit(declared.name, f"source {declared.source!r} is not one of {known}")
    try:
        model: Model | Generator = import_module(_KINDS[kind]).load(where, declared)
    except ModuleNotFoundError as error:
        raise ModelUnfit(declared.name, f"{error.name} is not installed") from error
    except (OSError, ValueError) as error:
        raise ModelUnfit(declared.name, f"cannot be read: {error}") from error
    if missing := sorted(set(declared.tasks) - model.tasks):
        raise ModelUnfit(declared.name, f"{declared.source} does not do {', '.join(missing)}")
    return model


def package_folder(package: str, model: str) -> Path:
    """The folder of an installed package, without running the package's code.

    Raises:
        ModelUnfit: it is not installed.
    """
    # find_spec imports the parents of a dotted name; a package of weights has none
    found = util.find_spec(package) if package.isidentifier() else None
    if found is None or not found.submodule_search_locations:
        raise ModelUnfit(model, f"Python package {package!r} is not installed")
    return Path(next(iter(found.submodule_search_locations)))


def check_vocabulary(declared: ModelDeclared, vocabulary: Mapping[str, int], *, known: int) -> None:
    """Check that a model knows all tokens of its tokenizer: one more ends a GPU's work for good.

    Args:
        declared: Whose.
        vocabulary: The tokenizer's: ids by token.
        known: How many tokens the model has, from 0 on.

    Raises:
        ModelUnfit: there is one that it does not know.
    """
    greatest = max(vocabulary.values(), default=0)
    if greatest >= known:
        reason = f"its tokenizer has a token {greatest:,}, and it knows {known:,}"
        raise ModelUnfit(declared.name, reason)

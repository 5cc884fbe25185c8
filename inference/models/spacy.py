"""Named entities by spaCy pipelines; the only module that imports spaCy."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from spacy.language import Language
from spacy.util import load_config, load_model_from_path

from events.models import ModelDeclared
from events.tasks.entities import EntitiesInput, EntitiesResult, Entity
from events.tasks.task import read_texts
from inference.errors import InputRefused, ModelUnfit
from inference.models import package_folder
from inference.models.model import Answer, Prepared

_WORD: Final = re.compile(r"\w+|[^\w\s]")  # near enough to spaCy's tokens to size a batch


def load(package: str, declared: ModelDeclared) -> "SpacyModel":
    """Load a pipeline that is installed as a Python package, with its NER alone.

    Raises:
        ModelUnfit: it is not installed, or has no NER.
    """
    folder = _pipeline_folder(package_folder(package, declared.name))
    if folder is None:
        raise ModelUnfit(declared.name, f"no config.cfg in package {package!r}")
    needed, others = _pipes(load_config(folder / "config.cfg"))
    if not needed:
        raise ModelUnfit(declared.name, "the pipeline has no ner component")
    return SpacyModel(load_model_from_path(folder, exclude=others))


def _pipeline_folder(folder: Path) -> Path | None:
    """The pipeline has a folder of its own inside the package that spaCy makes."""
    found = (path for path in (folder, *folder.iterdir()) if (path / "config.cfg").is_file())
    return next(found, None)


def _pipes(config: dict[str, Any]) -> tuple[list[str], list[str]]:
    """The components that NER needs, and the others."""
    pipeline: list[str] = config["nlp"]["pipeline"]
    if "ner" not in pipeline:
        return [], pipeline
    embedding = config["components"]["ner"]["model"]["tok2vec"]
    # with an embedding of its own it needs nothing else; the small models' have
    shared = "Listener" in embedding["@architectures"]
    kept = {"ner", "tok2vec", "transformer"} if shared else {"ner"}
    needed = [name for name in pipeline if config["components"][name]["factory"] in kept]
    return needed, [name for name in pipeline if name not in needed]


class SpacyModel:
    """One spaCy pipeline."""

    tasks: Final = frozenset({"entities"})

    def __init__(self, nlp: Language) -> None:
        self._nlp = nlp
        self._labels = frozenset(nlp.pipe_labels["ner"])

    def tokenize(
        self, _task: str, inputs: Sequence[EntitiesInput]
    ) -> Sequence[Prepared | InputRefused]:
        """Size the texts, and refuse entity types that this pipeline never finds.

        spaCy's own tokenizer adds every new word to the vocabulary for good; it runs
        in `run`, in a memory zone. It holds the GIL, so nothing is lost by that.
        """
        return [self._prepare(value) for value in inputs]

    def _prepare(self, value: EntitiesInput) -> Prepared | InputRefused:
        if value.searched_entity is not None and value.searched_entity not in self._labels:
            return InputRefused(
                "unknown_entity_type",
                f"This model has no entity type {value.searched_entity[:64]!r}; "
                f"it knows {', '.join(sorted(self._labels))}.",
                param="searched_entity",
            )
        return Prepared(sum(1 for _ in _WORD.finditer(value.text)), value)

    def run(self, _task: str, prepared: Sequence[Prepared]) -> Sequence[Answer]:
        """Find the mentions; offsets are in characters of the text."""
        inputs: list[EntitiesInput] = [one.data for one in prepared]
        with self._nlp.memory_zone():  # what the texts add to the vocabulary goes with it
            documents = self._nlp.pipe(
                (value.text for value in inputs), batch_size=max(1, len(inputs))
            )
            return [
                _answer(value, document) for value, document in zip(inputs, documents, strict=True)
            ]


def _answer(value: EntitiesInput, document: Any) -> Answer:  # noqa: ANN401 - a spacy Doc
    wanted = value.searched_entity
    entities = [
        Entity(start=found.start_char, end=found.end_char, type=found.label_, text=found.text)
        for found in document.ents
        if wanted is None or found.label_ == wanted
    ]
    return Answer(
        EntitiesResult(entities=entities),
        read_texts([value.text], input_tokens=len(document)),
    )

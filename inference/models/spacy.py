"""Entities, tokens and dependencies by spaCy pipelines."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from msgspec import Struct
from spacy.language import Language
from spacy.tokens import Doc, Span
from spacy.util import load_config, load_model_from_path

from events.models import ModelDeclared
from events.tasks.dependencies import Arc, DependenciesResult, Word
from events.tasks.entities import EntitiesInput, EntitiesResult, Entity
from events.tasks.sentence_dependencies import SentenceDependencies, SentenceDependenciesResult
from events.tasks.task import TaskInput, TaskResult, read_texts
from events.tasks.tokens import Token, TokensResult
from inference.errors import InputRefused, ModelUnfit
from inference.models import package_folder
from inference.models.model import Answer, Prepared
from inference.models.spacy_tokenizer import InPieces

MAX_WORDS: Final = 20_000  # more than 100,000 characters of prose have; others wait a second for it

_WORD: Final = re.compile(r"\w+|[^\w\s]")  # near enough to spaCy's tokens to size a batch


def load(package: str, declared: ModelDeclared) -> "SpacyModel":
    """Load a pipeline that is installed as a Python package: what its tasks need of it.

    Raises:
        ModelUnfit: it is not installed, or lacks a component that a task needs.
    """
    folder = _pipeline_folder(package_folder(package, declared.name))
    if folder is None:
        raise ModelUnfit(declared.name, f"no config.cfg in package {package!r}")
    config = load_config(folder / "config.cfg")
    needs = {name: _needs(config, _DOES[name]) for name in declared.tasks if name in _DOES}
    if lacking := [name for name, needed in needs.items() if not needed]:
        components = ", ".join(_DOES[lacking[0]].components)
        raise ModelUnfit(declared.name, f"{lacking[0]} needs the components {components}")
    needed = {component for components in needs.values() for component in components}
    nlp = load_model_from_path(
        folder, exclude=[name for name in config["nlp"]["pipeline"] if name not in needed]
    )
    nlp.tokenizer = InPieces(nlp.tokenizer)
    return SpacyModel(nlp, needs)


def _pipeline_folder(folder: Path) -> Path | None:
    """The pipeline has a folder of its own inside the package that spaCy makes."""
    found = (path for path in (folder, *folder.iterdir()) if (path / "config.cfg").is_file())
    return next(found, None)


class SpacyModel:
    """One spaCy pipeline."""

    def __init__(self, nlp: Language, needs: Mapping[str, Collection[str]]) -> None:
        """Serve with a loaded pipeline.

        Args:
            nlp: The pipeline.
            needs: The components that each task needs, by the task's name.
        """
        self._nlp = nlp
        self._disabled = {
            task: [name for name in nlp.pipe_names if name not in needed]
            for task, needed in needs.items()
        }
        self._entity_types = frozenset(nlp.pipe_labels.get("ner", ()))

    @property
    def tasks(self) -> frozenset[str]:
        """What it was loaded for."""
        return frozenset(self._disabled)

    def tokenize(
        self, _task: str, inputs: Sequence[TaskInput]
    ) -> Sequence[Prepared | InputRefused]:
        """Size the texts, and refuse what this pipeline cannot do.

        spaCy's own tokenizer adds every new word to the vocabulary for good; it runs
        in `run`, in a memory zone. It holds the GIL, so nothing is lost by that.
        """
        return [self._prepare(value) for value in inputs]

    def _prepare(self, value: Any) -> Prepared | InputRefused:  # noqa: ANN401 - has a text
        wanted = value.searched_entity if isinstance(value, EntitiesInput) else None
        if wanted is not None and wanted not in self._entity_types:
            return InputRefused(
                "unknown_entity_type",
                f"This model has no entity type {wanted[:64]!r}; "
                f"it knows {', '.join(sorted(self._entity_types))}.",
                param="searched_entity",
            )
        words = sum(1 for _ in _WORD.finditer(value.text))
        if words > MAX_WORDS:
            return InputRefused(
                "too_many_words",
                f"The text has {words} words and marks, and this model reads {MAX_WORDS} "
                "at a time; send it in several parts.",
                param="text",
            )
        return Prepared(words, value)

    def run(self, task: str, prepared: Sequence[Prepared]) -> Sequence[Answer]:
        """Answer by what the task's components find; positions are in characters."""
        inputs = [one.data for one in prepared]
        result = _DOES[task].result
        with self._nlp.memory_zone():  # what the texts add to the vocabulary goes with it
            documents = self._nlp.pipe(
                (value.text for value in inputs),
                batch_size=max(1, len(inputs)),
                disable=self._disabled[task],
            )
            return [
                Answer(
                    result(value, document),
                    read_texts([value.text], input_tokens=len(document)),
                )
                for value, document in zip(inputs, documents, strict=True)
            ]


def _entities(value: EntitiesInput, document: Doc) -> EntitiesResult:
    wanted = value.searched_entity
    return EntitiesResult(
        entities=[
            Entity(start=found.start_char, end=found.end_char, type=found.label_, text=found.text)
            for found in document.ents
            if wanted is None or found.label_ == wanted
        ]
    )


def _tokens(_value: TaskInput, document: Doc) -> TokensResult:
    return TokensResult(
        tokens=[
            Token(
                start=token.idx,
                end=token.idx + len(token),
                index=token.i + 1,
                text=token.text,
                lemma=token.lemma_,
                ws_after=bool(token.whitespace_),
            )
            for token in document
        ]
    )


def _dependencies(_value: TaskInput, document: Doc) -> DependenciesResult:
    return _parsed(document[:])


def _sentence_dependencies(_value: TaskInput, document: Doc) -> SentenceDependenciesResult:
    return SentenceDependenciesResult(
        sentence_dependencies=[
            SentenceDependencies(sentence=sentence.text, dependencies=_parsed(sentence))
            for sentence in document.sents
        ]
    )


def _parsed(span: Span) -> DependenciesResult:
    """Words and arcs, counted from the span's first token.

    Source: the form of displaCy's `parse_deps`, which spaCy draws.
    """
    arcs = []
    for token in span:
        if token.head.i != token.i:  # the root's head is itself
            first, last = sorted((token.i, token.head.i))
            arcs.append(
                Arc(
                    start=first - span.start,
                    end=last - span.start,
                    label=token.dep_,
                    text=token.text,
                    dir="left" if token.i == first else "right",
                )
            )
    return DependenciesResult(
        words=[Word(text=token.text, tag=token.tag_) for token in span], arcs=arcs
    )


class _Does(Struct, frozen=True):
    """How a task is done: by which components, and what is made of what they find."""

    components: tuple[str, ...]  # factories, all of which it takes
    result: Callable[[Any, Doc], TaskResult]


_DOES: Final = {
    "entities": _Does(("ner",), _entities),
    # the lemma depends on the part of speech, which the ruler makes of the tagger's tags
    "tokens": _Does(("tagger", "attribute_ruler", "lemmatizer"), _tokens),
    "dependencies": _Does(("tagger", "parser"), _dependencies),
    "sentence-dependencies": _Does(("tagger", "parser"), _sentence_dependencies),
}
_EMBEDDINGS: Final = {"tok2vec", "transformer"}


def _needs(config: Mapping[str, Any], does: _Does) -> frozenset[str]:
    """The names of the components that a task takes; none where one of them is missing."""
    components = config["components"]
    factories = {name: components[name]["factory"] for name in config["nlp"]["pipeline"]}
    if not set(does.components) <= set(factories.values()):
        return frozenset()
    needed = {name for name, factory in factories.items() if factory in does.components}
    # those without an embedding of their own listen to the pipeline's; the small models' have
    models = [components[name].get("model") or {} for name in needed]
    if any("Listener" in model.get("tok2vec", {}).get("@architectures", "") for model in models):
        needed |= {name for name, factory in factories.items() if factory in _EMBEDDINGS}
    return frozenset(needed)

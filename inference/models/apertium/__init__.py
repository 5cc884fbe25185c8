"""Translation by Apertium: rules and dictionaries, run as processes of their own.

Apertium is free software under the GNU GPL. Nothing of it is linked or imported: its
programs read text from one pipe and write it into another.

Source: Forcada et al., Apertium: a free/open-source platform for rule-based machine
translation, Machine Translation 25 (2011).
"""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final

from py3langid.langid import MODEL_FILE, LanguageIdentifier

from events.models import ModelDeclared
from events.tasks.task import read_texts
from events.tasks.translation import TranslationInput, TranslationResult
from inference.errors import InputRefused, ModelUnfit
from inference.models import FOLDERS
from inference.models.apertium.modes import Mode, find_modes, plain
from inference.models.apertium.pipe import Pipe
from inference.models.model import Answer, Prepared

MAX_WORDS: Final = 20_000  # others wait three seconds for them

Route = Sequence[Mode]  # one after the other: where no mode goes all the way


def load(where: str, declared: ModelDeclared) -> "Apertium":
    """Find the modes that lead from each declared language to the others.

    Whether a language is called `fr`, `fra` or `fra_Latn` makes no difference.

    Args:
        where: The folder in which packages are unpacked, or the name of the one that
            `make setup` made; ``/`` for those that are installed on the system.
        declared: With the languages to serve.

    Raises:
        ModelUnfit: a language leads nowhere.
    """
    modes = find_modes(FOLDERS / where)  # an absolute path stays what it is
    languages = dict.fromkeys(map(plain, declared.languages))
    routes = {
        (source, target): route
        for source in languages
        for target in languages
        if (route := _route(modes, source, target)) is not None
    }
    for language in languages:
        if not any(language == source and route for (source, _), route in routes.items()):
            known = ", ".join(sorted({mode.source for mode in modes})) or "run `make setup`"
            raise ModelUnfit(
                declared.name, f"{FOLDERS / where} has nothing from {language!r}: {known}"
            )
    if not routes:
        raise ModelUnfit(declared.name, "its `languages` have to be declared")
    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages(list(languages))
    return Apertium(routes, identifier)


def _route(modes: Sequence[Mode], source: str, target: str) -> Route | None:
    """The shortest way, or one of them; from a language to itself none is needed."""
    found: dict[str, Route] = {source: ()}
    ahead = deque([source])
    while ahead:
        at = ahead.popleft()
        for mode in modes:
            if mode.source == at and mode.target not in found:
                found[mode.target] = (*found[at], mode)
                ahead.append(mode.target)
    return found.get(target)


class Apertium:
    """Translates between some languages; words count as tokens.

    A mode's programs are started when it is first asked for, and wait for the next text
    after that: starting them takes a tenth of a second, a sentence two thousandths.
    """

    tasks: Final = frozenset({"translation"})

    def __init__(
        self, routes: Mapping[tuple[str, str], Route], identifier: LanguageIdentifier
    ) -> None:
        self._routes = routes
        self._identifier = identifier
        self._pipes: dict[str, Pipe] = {}  # by the mode's name

    def tokenize(
        self, _task: str, inputs: Sequence[TranslationInput]
    ) -> Sequence[Prepared | InputRefused]:
        """Count the words, and see which way each text goes."""
        return [self._prepare(value) for value in inputs]

    def _prepare(self, value: TranslationInput) -> Prepared | InputRefused:
        if "\0" in value.text:
            return InputRefused("nul_character", "Remove the NUL characters.", param="text")
        source = plain(value.source or self._identifier.classify(value.text)[0])
        route = self._routes.get((source, plain(value.target)))
        if route is None:
            speaks = sorted(to for known, to in self._routes if known == source != to)
            known = sorted({known for known, _ in self._routes})
            return InputRefused(
                "unsupported_language",
                f"This model translates {source!r} into {', '.join(speaks)}."
                if speaks
                else f"This model translates from {', '.join(known)}, and not from {source!r}.",
                param="target" if speaks else "source",
            )
        words = len(value.text.split())
        if words > MAX_WORDS:
            return InputRefused(
                "too_many_words",
                f"The text has {words} words, and this model reads {MAX_WORDS} at a time; "
                "send it in several parts.",
                param="text",
            )
        return Prepared(max(1, words), (value.text, route))

    def run(self, _task: str, prepared: Sequence[Prepared]) -> Sequence[Answer]:
        """Translate each text."""
        return [self._translate(one) for one in prepared]

    def _translate(self, prepared: Prepared) -> Answer:
        text, route = prepared.data
        said = text.lstrip()
        before = text[: len(text) - len(said)]
        for mode in route:
            said = self._through(mode, said)
        return Answer(
            # the space of a word that the other language leaves out is left over
            TranslationResult(translation_text=before + said.lstrip()),
            read_texts([text], input_tokens=prepared.width),
        )

    def _through(self, mode: Mode, text: str) -> str:
        pipe = self._pipes.pop(mode.name, None) or Pipe(mode.commands)
        said = pipe.translate(text)  # one that fails at a text is not asked again
        self._pipes[mode.name] = pipe
        return said

"""Translation by rules: what it means, and what it leaves as it is."""

import gc
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from deploy.local import apertium as programs
from events.models import ModelDeclared
from events.tasks.translation import TranslationInput
from inference.errors import InputRefused, ModelUnfit
from inference.models import load
from inference.models.apertium import MAX_WORDS, Apertium
from inference.models.apertium.modes import find_modes
from inference.models.apertium.pipe import Pipe, PipeBroken, _read, _written
from tests.inference.test_models import answers
from tests.waiting import ending

ODD = {
    "one mark": "!",
    "emoji": "🙂🙃🙂 👩‍👩‍👧‍👦 🇩🇪",
    "control characters": "\x01\x02\x1b[31m\x7f\u202e\ufeff\u200b",
    "one long word": "x" * 100_000,
    "marks": "!" * 100_000,
    "marks of its own format": "^$[]{}/\\@<>",
    "an end of its own format": ".[]",
    "a superblank of its own": "[[t:b:12]]^/<n>$",
}


@pytest.fixture(scope="module")
def declared(declared: dict[str, ModelDeclared]) -> ModelDeclared:
    programs.install(print)
    return declared["apertium"]


@pytest.fixture(scope="module")
def translator(declared: ModelDeclared) -> Apertium:
    model = load(declared)
    assert isinstance(model, Apertium)
    return model


def translate(model: Apertium, text: str, **languages: Any) -> str:
    (answer,) = answers(model, "translation", [TranslationInput(text=text, **languages)])
    assert answer.quantities.input_characters == len(text)
    assert answer.quantities.output_characters == 0
    result: Any = answer.result
    return str(result.translation_text)


def refusal(model: Apertium, **fields: Any) -> InputRefused:
    (refused,) = model.tokenize("translation", [TranslationInput(**fields)])
    assert isinstance(refused, InputRefused)
    return refused


@pytest.mark.parametrize(
    ("source", "target", "text", "said"),
    [
        ("es", "en", "El gato duerme en la casa.", "The cat sleeps in the house."),
        ("en", "es", "I have read the book.", "He leído el libro."),
        ("fr", "es", "Le chat dort dans la maison.", "El gato duerme en la casa."),
        ("es", "fr", "El gato duerme en la casa.", "Le chat dort dans la maison."),
        ("fr", "en", "Le chat dort dans la maison.", "The cat sleeps in the house."),
        ("en", "fr", "The president has signed the law.", "Le président a signé la loi."),
    ],
)
def test_a_sentence_says_the_same_in_another_language(
    translator: Apertium, source: str, target: str, text: str, said: str
) -> None:
    assert translate(translator, text, source=source, target=target) == said
    assert translate(translator, text, target=target) == said  # it tells the language itself


def test_lines_and_marks_stay_where_they_are(translator: Apertium) -> None:
    text = "La casa [roja]\n\n\tEl gato: <b>¿duerme?</b>  \r\n^ $5 {x} @y \\z.\n"

    said = translate(translator, text, source="es", target="en")

    assert said == "The house [red]\n\n\tThe cat: <b>sleeps?</b>  \r\n^ $5 {x} @and \\z.\n"


@pytest.mark.parametrize("text", ODD.values(), ids=list(ODD))
def test_what_is_in_no_language_comes_back_as_it_is(translator: Apertium, text: str) -> None:
    assert translate(translator, text, source="fr", target="en") == text


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters=["\0"])))
def test_what_the_programs_read_is_the_text(text: str) -> None:
    assert _read(_written(text)) == text


@pytest.mark.parametrize("mark", list("\\[]{}^$@/<> \t\n\x01a"))
def test_many_equal_marks_hold_nobody_up(mark: str) -> None:
    many = 1_000_000 if mark.isspace() else 100_000  # a square of spaces would take hours
    for count in (30, 99, many):
        text = f"a{mark * count} {mark * count}a"
        with ending():
            assert _read(_written(text)) == text


def test_a_mark_is_never_parted_from_its_backslash() -> None:
    text = "\\" * 60 + " " + "a" * 60

    assert _read(_written(text)) == text


def test_a_text_says_the_same_in_any_company(translator: Apertium) -> None:
    texts = ["El gato duerme.", "¿Quién abrió la puerta?", "Se cierra a las seis", "x" * 500]
    inputs = [TranslationInput(text=text, source="es", target="en") for text in texts]

    alone = [answers(translator, "translation", [one])[0] for one in inputs]

    assert answers(translator, "translation", inputs[::-1])[::-1] == alone
    assert answers(translator, "translation", inputs * 3) == alone * 3


def test_a_language_that_it_does_not_speak_is_refused(translator: Apertium) -> None:
    strange = refusal(translator, text="Die Katze schläft.", source="de", target="en")
    wanted = refusal(translator, text="El gato duerme.", source="es", target="de")

    assert (strange.code, strange.param) == ("unsupported_language", "source")
    assert "from en, es, fr, and not from 'de'" in strange.message
    assert (wanted.code, wanted.param) == ("unsupported_language", "target")
    assert "'es' into en, fr" in wanted.message


def test_a_text_that_would_hold_up_all_others_is_refused(translator: Apertium) -> None:
    refused = refusal(translator, text="a " * (MAX_WORDS + 1), source="es", target="en")

    assert refused.code == "too_many_words"


def test_a_language_may_be_called_by_any_of_its_names(translator: Apertium) -> None:
    for source, target in [("fra_Latn", "eng_Latn"), ("fra", "en"), ("fr", "eng")]:
        said = translate(translator, "Le chat dort dans la maison.", source=source, target=target)
        assert said == "The cat sleeps in the house."
    same = "Le chat dort dans la maison."
    assert translate(translator, same, source="fra_Latn", target="fr") == same


def test_a_text_in_the_wanted_language_stays_as_it_is(translator: Apertium) -> None:
    assert translate(translator, "The cat sleeps in the house.", target="en").startswith("The cat")


def test_programs_that_end_are_started_again(declared: ModelDeclared) -> None:
    model = load(declared)
    assert isinstance(model, Apertium)
    assert translate(model, "La casa.", source="es", target="en") == "The house."
    os.kill(children("lt-proc")[-1], signal.SIGKILL)

    with pytest.raises(PipeBroken):
        translate(model, "La casa.", source="es", target="en")

    assert translate(model, "La casa.", source="es", target="en") == "The house."


def test_programs_end_with_the_model(declared: ModelDeclared) -> None:
    gc.collect()
    before = children()
    (mode,) = [mode for mode in find_modes(programs.FOLDER) if mode.name == "spa-eng"]
    pipe = Pipe(mode.commands)
    pipe.translate("La casa.")
    assert len(children()) == len(before) + len(mode.commands)

    del pipe
    gc.collect()

    assert children() == before
    assert declared.source == "apertium:apertium"


def test_a_folder_without_a_declared_language_is_refused(declared: ModelDeclared) -> None:
    with pytest.raises(ModelUnfit, match="nothing from 'de'"):
        load(replace(declared, languages=("en", "es", "de")))
    with pytest.raises(ModelUnfit, match="have to be declared"):
        load(replace(declared, languages=()))
    with pytest.raises(ModelUnfit, match="nothing from 'en': run `make setup`"):
        load(replace(declared, source="apertium:/nowhere"))


def children(name: str = "") -> list[int]:
    """The programs that this process started, by id."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                status = (folder / "stat").read_text()
                command = (folder / "cmdline").read_bytes()
            except OSError:
                continue  # it ended
            parent = int(status.rpartition(")")[2].split()[1])
            if parent == os.getpid() and b"apertium" in command and name.encode() in command:
                found.append(int(folder.name))
    return sorted(found)

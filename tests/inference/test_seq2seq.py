"""Encoder-decoder models: a tiny one of noise."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from msgspec.structs import replace
from tokenizers import Tokenizer
from transformers import M2M100ForConditionalGeneration

from events.tasks import translation
from events.tasks.translation import TranslationInput
from inference.errors import InputRefused, ModelUnfit
from inference.models import load
from inference.models.seq2seq import _BETWEEN, AT_LEAST, LONGER, Seq2Seq
from tests.inference.test_models import answers
from tests.inference.tiny_seq2seq import CONTEXT, END, declare, make
from tests.waiting import ending


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("seq2seq")
    make(folder)
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> Seq2Seq:
    loaded = load(declare(folder))
    assert isinstance(loaded, Seq2Seq)
    return loaded


def asked(text: str, source: str | None = "fra_Latn", target: str = "en") -> TranslationInput:
    return TranslationInput(text=text, source=source, target=target)


def translate(model: Seq2Seq, *inputs: TranslationInput) -> list[str]:
    results: list[Any] = [one.result for one in answers(model, "translation", inputs)]
    return [result.translation_text for result in results]


def test_a_sentence_is_what_transformers_makes_of_it_with_both_languages_named(
    folder: Path, model: Seq2Seq
) -> None:
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    french, english = tokenizer.token_to_id("fra_Latn"), tokenizer.token_to_id("__en__")
    ids = [french, *tokenizer.encode("le chat dort .", add_special_tokens=False).ids, END]
    direct: Any = M2M100ForConditionalGeneration.from_pretrained(folder)
    written = direct.generate(
        input_ids=torch.tensor([ids]),
        forced_bos_token_id=english,
        num_beams=1,
        do_sample=False,
        max_new_tokens=min(LONGER * len(ids) + AT_LEAST, CONTEXT - 1),
    )[0].tolist()

    assert written[1] == english
    assert translate(model, asked("le chat dort.")) == [tokenizer.decode(written).strip()]
    (answer,) = answers(model, "translation", [asked("le chat dort.")])
    assert answer.quantities.input_tokens == len(ids)
    assert answer.quantities.input_characters == len("le chat dort.")


def test_sentences_are_translated_one_by_one_and_what_is_between_them_stays(
    model: Seq2Seq,
) -> None:
    one, other = translate(model, asked("le chat dort."), asked("ici!"))

    assert translate(model, asked(" le chat dort.  ici!\n\n\tici!\n")) == [
        f" {one}  {other}\n\n\t{other}\n"
    ]


def test_many_short_sentences_are_billed_no_more_than_was_held(model: Seq2Seq) -> None:
    text = "!\n" * 20 + "!"
    (answer,) = answers(model, "translation", [asked(text)])

    held = translation.TASK.most(asked(text))
    assert answer.quantities == held
    assert answer.quantities.input_tokens < 3 * 21  # of each its sign and two of a frame


def test_a_text_says_the_same_in_any_company(model: Seq2Seq) -> None:
    inputs = [asked("le chat dort."), asked("ici! ici!"), asked("cat", "en", "fra_Latn")]
    alone = [text for one in inputs for text in translate(model, one)]

    assert translate(model, *inputs) == alone
    assert translate(model, *inputs[::-1]) == alone[::-1]


@pytest.mark.parametrize(
    ("value", "code", "param"),
    [
        (asked("le chat", None), "source_needed", "source"),
        (asked("le chat", "de"), "unsupported_language", "source"),
        (asked("le chat", target="fr"), "unsupported_language", "target"),
        (asked("le " * CONTEXT), "input_too_long", "text"),
    ],
)
def test_what_it_cannot_translate_is_refused(
    model: Seq2Seq, value: TranslationInput, code: str, param: str
) -> None:
    (refused,) = model.tokenize("translation", [value])

    assert isinstance(refused, InputRefused)
    assert (refused.code, refused.param) == (code, param)


@pytest.mark.parametrize("text", ["\x1c", "\u200b", "🙂" * 20, "!" * 20, "x" * 1_000])
def test_odd_texts_are_answered(model: Seq2Seq, text: str) -> None:
    assert isinstance(translate(model, asked(text))[0], str)


@pytest.mark.parametrize("mark", list(" \t\n.a"))
def test_many_equal_marks_hold_nobody_up(mark: str) -> None:
    text = f"a{mark * 1_000_000}a"  # of spaces, the square would take hours

    with ending():
        assert "".join(_BETWEEN.split(text)) == text


def test_a_folder_that_does_not_fit_is_refused(folder: Path, tmp_path: Path) -> None:
    declared = declare(folder)
    with pytest.raises(ModelUnfit, match="no token for es"):
        load(replace(declared, languages=("en", "es")))
    with pytest.raises(ModelUnfit, match="two or more"):
        load(replace(declared, languages=("en",)))
    with pytest.raises(ModelUnfit, match="cannot be read"):
        load(declare(tmp_path))
    shutil.copytree(folder, tmp_path / "mute")
    (tmp_path / "mute" / "tokenizer.json").unlink()
    with pytest.raises(ModelUnfit, match=r"tokenizer\.json is missing"):
        load(declare(tmp_path / "mute"))

"""What the real models make of real sentences, task by task."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import spacy
from msgspec.structs import replace

from events.models import ModelDeclared
from events.tasks import all_tasks
from events.tasks.classification import ClassificationInput
from events.tasks.task import TaskInput
from inference.errors import InputRefused, ModelUnfit
from inference.models import load
from inference.models.model import Answer, Model
from inference.models.spacy import MAX_WORDS
from tests.inference.test_models import answers

TASKS = all_tasks()


def ask(model: Model, task: str, **fields: Any) -> Any:
    (answer,) = answers(model, task, [TASKS[task].takes(**fields)])
    return TASKS[task].decode_result(TASKS[task].encode(answer.result))  # as a caller reads it


def refusal(model: Model, task: str, value: TaskInput) -> InputRefused:
    (refused,) = model.tokenize(task, [value])
    assert isinstance(refused, InputRefused)
    return refused


def test_tokens_have_lemmas_and_with_their_spaces_are_the_whole_text(spacy_model: Model) -> None:
    text = "The  mice weren't sleeping 🙂, they ran."

    found = ask(spacy_model, "tokens", text=text).tokens

    lemmas = {token.text: token.lemma for token in found}
    assert (lemmas["mice"], lemmas["n't"], lemmas["ran"]) == ("mouse", "not", "run")
    assert "".join(token.text + " " * token.ws_after for token in found) == text
    assert all(text[token.start : token.end] == token.text for token in found)
    assert [token.index for token in found] == list(range(1, len(found) + 1))


def test_dependencies_say_who_did_what(spacy_model: Model) -> None:
    found = ask(spacy_model, "dependencies", text="The keeper opened gates. Nobody came.")

    words = [word.text for word in found.words]
    assert {word.text: word.tag for word in found.words}["opened"] == "VBD"
    said = {(arc.label, words[arc.start], words[arc.end], arc.dir) for arc in found.arcs}
    assert {
        ("nsubj", "keeper", "opened", "left"),
        ("dobj", "opened", "gates", "right"),
        ("nsubj", "Nobody", "came", "left"),
    } <= said
    assert all(arc.text == words[arc.start if arc.dir == "left" else arc.end] for arc in found.arcs)
    assert len(found.arcs) == len(words) - 2  # of each sentence all but the root


def test_each_sentence_has_its_own_dependencies(spacy_model: Model) -> None:
    found = ask(
        spacy_model, "sentence-dependencies", text="The keeper opened gates. Nobody came."
    ).sentence_dependencies

    assert [one.sentence for one in found] == ["The keeper opened gates.", "Nobody came."]
    last = found[1].dependencies
    assert [word.text for word in last.words] == ["Nobody", "came", "."]
    assert next((arc.label, arc.start, arc.end) for arc in last.arcs) == ("nsubj", 0, 1)


def test_a_long_run_of_marks_is_taken_apart_like_a_short_one(spacy_model: Model) -> None:
    found = ask(spacy_model, "tokens", text="Stop" + "!" * 5_000 + " Go.").tokens

    assert [token.text for token in found] == ["Stop", *"!" * 5_000, "Go", "."]
    assert found[-2].start == 5_005


def test_a_text_that_would_hold_up_all_others_is_refused(spacy_model: Model) -> None:
    value = TASKS["tokens"].takes(text="a " * (MAX_WORDS + 1))

    refused = refusal(spacy_model, "tokens", value)

    assert (refused.code, refused.status, refused.param) == ("too_many_words", 422, "text")
    assert str(MAX_WORDS) in refused.message


def test_a_pipeline_without_a_tasks_components_is_unfit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spacy.blank("en").to_disk(tmp_path / "a_blank_pipeline")
    monkeypatch.syspath_prepend(tmp_path)

    for task, component in (("entities", "ner"), ("tokens", "lemmatizer")):
        with pytest.raises(ModelUnfit, match=f"{task} needs the components .*{component}"):
            load(ModelDeclared(name="blank", source="spacy:a_blank_pipeline", tasks=(task,)))


def test_a_model_of_another_kind_of_task_is_unfit(declared: Mapping[str, ModelDeclared]) -> None:
    with pytest.raises(ModelUnfit, match="does not do embeddings"):
        load(replace(declared["en_core_web_sm"], tasks=("entities", "embeddings")))


LANGUAGES = {
    "en": "The keeper opened the gate at seven in the morning.",
    "fr": "Le gardien a ouvert la grille à sept heures du matin.",
    "de": "Der Wärter öffnete das Tor um sieben Uhr morgens.",
    "es": "El guardián abrió la puerta a las siete de la mañana.",
    "ja": "門番は朝七時に門を開けた。",
    "ru": "Сторож открыл ворота в семь часов утра.",
}


def test_languages_are_told_apart(language_model: Model) -> None:
    for language, text in LANGUAGES.items():
        found = ask(language_model, "langdetection", text=text).languages

        assert next(iter(found[0])) == language
        scores = [score for one in found for score in one.values()]
        assert scores == sorted(scores, reverse=True)
        assert 0.9 < sum(scores) <= 1 or scores[0] > 0.5


def test_two_languages_in_one_text_are_both_told(language_model: Model) -> None:
    text = "The weather is nice today. Le temps est beau aujourd'hui."

    found = ask(language_model, "langdetection", text=text).languages

    assert {next(iter(one)) for one in found[:2]} == {"en", "fr"}


def test_what_is_no_language_is_told_to_be_none(language_model: Model) -> None:
    assert ask(language_model, "langdetection", text="\x01").languages == []


def test_paraphrases_score_higher_than_strangers(embeddings_model: Model) -> None:
    def score(*sentences: str) -> float:
        found: float = ask(embeddings_model, "semantic-similarity", sentences=list(sentences)).score
        return found

    assert score("A cat sleeps on the sofa.", "A kitten is napping on the couch.") > 0.6
    assert score("A cat sleeps on the sofa.", "Shares fell after the profit warning.") < 0.2
    assert score("The same.", "The same.") == pytest.approx(1, abs=1e-6)


TOPICS = ["politics", "sports", "weather", "music"]
STORIES = {
    "politics": "Parliament rejected the bill by a narrow margin.",
    "sports": "The striker scored twice in the second half.",
    "weather": "It will rain all weekend.",
    "music": "The orchestra played a symphony.",
}


def test_the_label_that_fits_comes_first(embeddings_model: Model) -> None:
    for topic, text in STORIES.items():
        found = ask(embeddings_model, "classification", text=text, labels=TOPICS, multi_class=False)

        assert found.labels[0] == topic
        assert found.scores[0] > 0.6
        assert sorted(found.labels) == sorted(TOPICS)
        assert found.scores == sorted(found.scores, reverse=True)
        assert sum(found.scores) == pytest.approx(1, abs=1e-5)


def test_several_labels_may_fit_and_none_has_to(embeddings_model: Model) -> None:
    both = ask(
        embeddings_model,
        "classification",
        text="The football match was called off because of heavy rain and storms.",
        labels=TOPICS,
    )
    neither = ask(
        embeddings_model,
        "classification",
        text="Knead the dough until it is smooth.",
        labels=TOPICS,
        multi_class=None,
    )

    fitting = {label for label, score in zip(both.labels, both.scores, strict=True) if score > 0.5}
    assert fitting == {"sports", "weather"}
    assert max(neither.scores) < 0.5


def test_one_label_is_enough(embeddings_model: Model) -> None:
    found = ask(
        embeddings_model,
        "classification",
        text=STORIES["sports"],
        labels=["sports"],
        multi_class=False,
    )

    assert (found.labels, found.scores) == (["sports"], [1.0])


def test_labels_are_paid_for_and_what_is_put_around_them_is_not(embeddings_model: Model) -> None:
    value = ClassificationInput(text="two words", labels=["sports", "bad weather"])

    (answer,) = answers(embeddings_model, "classification", [value])

    assert answer.quantities.input_tokens == 4 + 3 + 4  # each framed by two special tokens
    assert answer.quantities.input_words == 5
    most = TASKS["classification"].most(value)
    assert answer.quantities.input_tokens <= most.input_tokens


def test_labels_that_repeat_are_refused(subtests: pytest.Subtests) -> None:
    for labels in (["a", "a"], ["Sports", "sports "], ["x", "y", "X"]):
        with subtests.test(labels=labels), pytest.raises(ValueError, match="twice"):
            ClassificationInput(text="A text.", labels=labels)


MOODS = {
    "What a wonderful day, I love this place!": "POSITIVE",
    "The staff were friendly and the food was delicious.": "POSITIVE",
    "This is the best film that I have seen in years.": "POSITIVE",
    "What a horrible day, I hate this place!": "NEGATIVE",
    "The staff were rude and the food was disgusting.": "NEGATIVE",
    "It broke after two days; a complete waste of money.": "NEGATIVE",
}


def test_joy_and_anger_are_told_apart(embeddings_model: Model) -> None:
    for text, mood in MOODS.items():
        best, other = ask(embeddings_model, "sentiment", text=text, target=None).scored_labels

        assert best.label == mood
        assert best.score > 0.7
        assert best.score + other.score == pytest.approx(1)


def test_a_target_is_refused_and_not_ignored(embeddings_model: Model) -> None:
    task = TASKS["sentiment"]
    value = task.takes(text="The food was good.", target="food")

    refused = refusal(embeddings_model, "sentiment", value)

    assert (refused.code, refused.param) == ("unsupported_parameter", "target")


def test_a_refused_input_leaves_the_others_of_its_batch_alone(embeddings_model: Model) -> None:
    task = TASKS["sentiment"]
    inputs = [
        task.takes(text="I love it.", target="it"),
        task.takes(text="I love it."),
    ]

    refused, prepared = embeddings_model.tokenize("sentiment", inputs)

    assert isinstance(refused, InputRefused)
    assert not isinstance(prepared, InputRefused)
    (answer,) = embeddings_model.run("sentiment", [prepared])
    assert isinstance(answer, Answer)

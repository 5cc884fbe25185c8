"""Words and phrases that say what a text is about."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from events.tasks.kw_kp_extraction import MOST, KeyphrasesInput, KeyphrasesResult
from inference.models.keyphrases import CANDIDATES, LONGEST, candidates, choose
from inference.models.model import Answer, Model, Prepared

BEES = (
    "Honey bees live in colonies of up to 60,000 animals with a single queen, who lays all the "
    "eggs. The workers collect nectar and pollen, build combs from wax and defend the hive. In "
    "winter the colony keeps warm by trembling and lives on the honey that it has stored."
)
BRIDGE = (
    "The old bridge over the river was closed on Monday, after engineers had found cracks in "
    "two of its pillars. Until the bridge is repaired, all traffic has to cross the river "
    "further north."
)


def find(model: Model, *texts: str) -> list[Answer]:
    task, inputs = "kw-kp-extraction", [KeyphrasesInput(text=text) for text in texts]
    prepared = [one for one in model.tokenize(task, inputs) if isinstance(one, Prepared)]
    return [one for one in model.run(task, prepared) if isinstance(one, Answer)]


def phrases(answer: Answer) -> list[str]:
    assert isinstance(answer.result, KeyphrasesResult)
    return answer.result.keywords_and_keyphrases


def test_what_a_text_is_about_comes_first(embeddings_model: Model) -> None:
    bees, bridge = map(phrases, find(embeddings_model, BEES, BRIDGE))

    assert "bees" in bees[0].lower()
    assert any("queen" in phrase for phrase in bees)
    assert any("bridge" in phrase for phrase in bridge[:2])
    assert {"the", "of", "in", "who", "its"}.isdisjoint(bees + bridge)
    assert all(phrase in BEES for phrase in bees)
    assert len(set(bees)) == len(bees) <= MOST


def test_company_changes_no_phrase(embeddings_model: Model) -> None:
    together = find(embeddings_model, BRIDGE, BEES)

    assert phrases(together[1]) == phrases(find(embeddings_model, BEES)[0])


def test_a_text_is_read_to_its_end_and_its_tokens_are_counted_once(embeddings_model: Model) -> None:
    long = "The ferry crosses the strait every hour. " * 60 + BEES * 5
    (answer,) = find(embeddings_model, long)

    assert any("bee" in phrase.lower() for phrase in phrases(answer))
    assert any("ferry" in phrase.lower() for phrase in phrases(answer))
    assert 600 < answer.quantities.input_tokens < 1_100
    assert answer.quantities.input_words == len(long.split())


def test_a_text_that_says_nothing_has_no_phrases(embeddings_model: Model) -> None:
    assert [
        phrases(one) for one in find(embeddings_model, "🙂🙃🙂", "of the", "\x01", "1 2 3")
    ] == [
        [],
        [],
        [],
        [],
    ]


def test_phrases_cross_no_mark_and_no_function_word() -> None:
    assert candidates("A red kite, high up; the kite's tail.") == [
        "red",
        "red kite",
        "kite",
        "high",
        "kite's",
        "kite's tail",
        "tail",
    ]


@given(st.text(st.sampled_from("ab c,the\n'\u2019-é🙂中1 "), max_size=60))
def test_candidates_are_phrases_of_the_text(text: str) -> None:
    found = candidates(text)

    flat = " ".join(text.split())
    assert all(phrase in flat for phrase in found)
    assert all(len(phrase.split()) <= LONGEST for phrase in found)
    assert len({phrase.lower() for phrase in found}) == len(found)


def test_a_long_text_has_no_more_candidates_than_can_be_compared() -> None:
    words = " ".join(f"word{number}" for number in range(2_000))

    assert len(candidates(words + " gate, gate")) == CANDIDATES
    assert "gate" in candidates(words + ". Gate, gate")[-1].lower()


def test_the_second_is_not_like_the_first() -> None:
    text = np.array([1.0, 0.0, 0.0])
    twins = np.array([[0.95, 0.31, 0.0], [0.95, 0.31, 0.001], [0.8, 0.0, 0.6]])

    assert list(choose(text, twins, 2)) == [0, 2]
    assert list(choose(text, np.zeros((0, 3)), 2)) == []

"""How often a text's label is found, without training: 48 sentences about twelve topics."""

import math
from pathlib import Path
from typing import Final

from events.models import read_models
from events.tasks.classification import ClassificationInput, ClassificationResult
from inference.models import load
from inference.models.model import Generator, Model, Prepared
from tests.bench.table import print_table

MODEL: Final = "all-MiniLM-L6-v2"
MODELS_FILE: Final = Path(__file__).parents[2] / "deploy" / "models.toml"
TOPICS: Final = {
    "sports": (
        "The striker scored twice in the second half.",
        "She won the marathon in just over two hours.",
        "The coach was fired after five straight losses.",
        "He served three aces in the final set.",
    ),
    "politics": (
        "Parliament rejected the bill by a narrow margin.",
        "The senator announced that she will run for president.",
        "Voters go to the polls on Sunday.",
        "The prime minister reshuffled his cabinet.",
    ),
    "economy": (
        "The central bank raised interest rates by half a point.",
        "Shares fell sharply after the profit warning.",
        "Unemployment dropped to its lowest level in a decade.",
        "Inflation is eating into household savings.",
    ),
    "science": (
        "Astronomers have found water vapour around a distant planet.",
        "The experiment measured the mass of the neutrino.",
        "Researchers sequenced the genome of the mammoth.",
        "A new fossil rewrites the history of birds.",
    ),
    "health": (
        "Doctors recommend a flu vaccine for the elderly.",
        "The patient was treated for a broken hip.",
        "Sleeping badly raises the risk of heart disease.",
        "The clinic has a shortage of nurses.",
    ),
    "technology": (
        "The new phone has a faster processor and a better camera.",
        "A bug in the update made laptops crash.",
        "The startup trains language models in the cloud.",
        "Hackers stole passwords from the server.",
    ),
    "travel": (
        "We spent two weeks hiking in the Alps.",
        "The hotel was right at the beach.",
        "Our flight to Lisbon was delayed by four hours.",
        "Pack light and take the night train to Vienna.",
    ),
    "food": (
        "Simmer the tomatoes with garlic and basil.",
        "The restaurant serves the best ramen in town.",
        "Knead the dough until it is smooth.",
        "I had grilled fish with lemon for lunch.",
    ),
    "music": (
        "The orchestra played Mahler's fifth symphony.",
        "Her new album tops the charts.",
        "He tuned his guitar before the concert.",
        "The choir rehearses on Tuesdays.",
    ),
    "weather": (
        "It will rain all weekend.",
        "A heat wave is expected in the south.",
        "Snow closed the mountain roads.",
        "Winds of up to ninety kilometres an hour hit the coast.",
    ),
    "law": (
        "The court sentenced him to three years in prison.",
        "Her lawyer filed an appeal.",
        "The judge dismissed the lawsuit.",
        "Witnesses testified before the jury.",
    ),
    "education": (
        "The teacher handed out the exams.",
        "Pupils learn to read in the first grade.",
        "She received a scholarship for her doctorate.",
        "The university raised its tuition fees.",
    ),
}


def measure_classification() -> None:
    """Print the table.

    The numbers in `ZeroShot` were chosen on these very sentences, so this says how well
    they fit, and not how well they do elsewhere.
    """
    model = load(read_models(MODELS_FILE)[MODEL])
    assert not isinstance(model, Generator)
    told = [topic for topic, texts in TOPICS.items() for _ in texts]
    alone = list(zip(told, _scores(model, multi_class=False), strict=True))
    each = list(zip(told, _scores(model, multi_class=True), strict=True))
    first = sum(max(scores, key=lambda label: scores[label]) == topic for topic, scores in alone)
    missed = sum(-math.log(scores[topic]) for topic, scores in alone)
    fits = sum(scores[topic] > 1 / 2 for topic, scores in each)
    strange = sum(
        score > 1 / 2 for topic, scores in each for label, score in scores.items() if label != topic
    )
    strangers = len(told) * (len(TOPICS) - 1)
    print_table(
        f"{len(told)} sentences, {len(TOPICS)} labels",
        ("", ""),
        [
            ("the right label comes first", f"{first / len(told):.2f}"),
            ("surprise at the right label, nats", f"{missed / len(told):.2f}"),
            ("with `multi_class`, the right label over 0.5", f"{fits / len(told):.2f}"),
            ("and other labels over 0.5", f"{strange / strangers:.2f}"),
        ],
    )


def _scores(model: Model, *, multi_class: bool) -> list[dict[str, float]]:
    values = [
        ClassificationInput(text=text, labels=list(TOPICS), multi_class=multi_class)
        for texts in TOPICS.values()
        for text in texts
    ]
    prepared = [
        one for one in model.tokenize("classification", values) if isinstance(one, Prepared)
    ]
    found = []
    for answer in model.run("classification", prepared):
        result = getattr(answer, "result", None)
        assert isinstance(result, ClassificationResult)
        found.append(dict(zip(result.labels, result.scores, strict=True)))
    return found


if __name__ == "__main__":
    measure_classification()

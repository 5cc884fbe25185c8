"""How tasks are asked of a model that reads another language than the caller writes.

A translator says what the caller brings in the model's language, and what the model
writes in the caller's. `TRANSLATED` has the tasks that this can be done for, and
`KEPT` the others, each with the reason: whatever an answer says of a text is to be
true of the text that was sent.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from msgspec import UNSET, Struct
from msgspec.structs import replace

from events.tasks.chat import ChatInput, ChatResult
from events.tasks.chatbot import ChatbotInput, ChatbotResult, Exchange
from events.tasks.classification import ClassificationInput, ClassificationResult
from events.tasks.generation import BETWEEN, GenerationInput, GenerationResult
from events.tasks.task import TaskInput, TaskResult

Texts = Sequence[str]


class Translated(Struct, frozen=True):
    """The texts of one task that pass through a translator, on the way in and on the way back."""

    brings: Callable[[Any], Texts]  # of an input, in the caller's language
    #: The input to ask with, of the caller's and the translations of what it brings. Raises a
    #: ValueError, which begins with the field, where that cannot be asked.
    asks: Callable[[Any, Texts], TaskInput]
    says: Callable[[Any], Texts]  # of a result, in the model's language
    #: The result to give, of the caller's input, the input that was asked, the model's result
    #: and the translations of what it says.
    gives: Callable[[Any, Any, Any, Texts], TaskResult]


def _fields(reads: Texts, writes: Texts = ()) -> Translated:
    """Of a task whose texts are fields, each a text or a list of texts; null is none."""

    def brings(value: TaskInput) -> Texts:
        return [text for name in reads for text in _texts(getattr(value, name))]

    def asks(value: TaskInput, texts: Texts) -> TaskInput:
        for name in reads:
            if any(not isinstance(part, str) for part in getattr(value, name) or ()):
                raise ValueError(f"`{name}` has tokens of the model's own language; send texts")
        left = iter(texts)
        return replace(value, **{name: _filled(getattr(value, name), left) for name in reads})

    def says(result: TaskResult) -> Texts:
        return [getattr(result, name) for name in writes]

    def gives(_value: TaskInput, _asked: TaskInput, result: TaskResult, texts: Texts) -> TaskResult:
        return replace(result, **dict(zip(writes, texts, strict=True)))

    return Translated(brings, asks, says, gives)


def _texts(field: str | Texts | None) -> Texts:
    if field is None:
        return []
    return [field] if isinstance(field, str) else [text for text in field if isinstance(text, str)]


def _filled(field: Any, texts: Any) -> Any:  # noqa: ANN401 - what the field held
    if field is None:
        return None
    return next(texts) if isinstance(field, str) else [next(texts) for _ in field]


def _ask_to_classify(value: ClassificationInput, texts: Texts) -> ClassificationInput:
    text, *labels = texts
    folded = [label.strip().casefold() for label in labels]
    for number, label in enumerate(folded):
        if label in folded[:number]:
            same = value.labels[folded.index(label)], value.labels[number]
            raise ValueError(
                f"`labels` has {same[0][:64]!r} and {same[1][:64]!r}, which the translator calls "
                f"{labels[number][:64]!r} both; send labels that differ more"
            )
    return replace(value, text=text, labels=labels)


def _give_own_labels(
    value: ClassificationInput,
    asked: ClassificationInput,
    result: ClassificationResult,
    _texts: Texts,
) -> ClassificationResult:
    own = dict(zip(asked.labels, value.labels, strict=True))
    return replace(result, labels=[own[label] for label in result.labels])


def _ask_to_continue(value: GenerationInput, texts: Texts) -> GenerationInput:
    """Ask for what comes after the text: the text itself needs no translation back."""
    _compare_nothing(value, "end_sequence", "bad_words")
    return replace(value, text=texts[0], remove_input=True)


def _give_after_the_text(
    value: GenerationInput, _asked: GenerationInput, result: GenerationResult, texts: Texts
) -> GenerationResult:
    before = "" if value.remove_input else value.text
    whole = [before + text for text in texts]
    several = UNSET if result.generated_texts is UNSET else whole
    return replace(result, generated_text=BETWEEN.join(whole), generated_texts=several)


def _generated(result: GenerationResult) -> Texts:
    several = result.generated_texts
    return [result.generated_text] if several is UNSET else several


def _ask_to_go_on(value: ChatInput, texts: Texts) -> ChatInput:
    _compare_nothing(value, "stop")
    messages = [
        replace(message, content=text) for message, text in zip(value.messages, texts, strict=True)
    ]
    return replace(value, messages=messages)


def _give_answers(
    _value: ChatInput, _asked: ChatInput, result: ChatResult, texts: Texts
) -> ChatResult:
    pairs = zip(result.answers, texts, strict=True)
    return ChatResult([replace(answer, text=text) for answer, text in pairs])


def _compare_nothing(value: TaskInput, *names: str) -> None:
    """Raise a ValueError where the model's own words are to be looked for."""
    for name in names:
        if getattr(value, name) is not None:
            raise ValueError(
                f"`{name}` is compared with what the model writes, which is in another language; "
                "leave it out, or ask in the model's own language"
            )


def _talk(value: ChatbotInput) -> Texts:
    past = [text for one in value.history or () for text in (one.input, one.response)]
    return [value.input, *_texts(value.context), *past]


def _ask_to_answer(value: ChatbotInput, texts: Texts) -> ChatbotInput:
    left = iter(texts)
    return replace(
        value,
        input=next(left),
        context=_filled(value.context, left),
        history=value.history
        and [Exchange(input=next(left), response=next(left)) for _ in value.history],
    )


def _give_own_history(
    value: ChatbotInput, _asked: ChatbotInput, _result: ChatbotResult, texts: Texts
) -> ChatbotResult:
    said = Exchange(input=value.input, response=texts[0])
    return ChatbotResult(response=texts[0], history=[*(value.history or ()), said])


TRANSLATED: Final[Mapping[str, Translated]] = {
    "chat": Translated(
        lambda value: value.texts,
        _ask_to_go_on,
        lambda result: [answer.text for answer in result.answers],
        _give_answers,
    ),
    "chatbot": Translated(
        _talk, _ask_to_answer, lambda result: [result.response], _give_own_history
    ),
    "classification": Translated(
        lambda value: [value.text, *value.labels],
        _ask_to_classify,
        lambda _result: [],
        _give_own_labels,
    ),
    "embeddings": _fields(["sentences"]),
    "generation": Translated(
        lambda value: [value.text],
        _ask_to_continue,
        _generated,
        _give_after_the_text,
    ),
    "paraphrasing": _fields(["text"], ["paraphrased_text"]),
    "semantic-similarity": _fields(["sentences"]),
    "sentiment": _fields(["text", "target"]),  # moods have the model's own names
    "summarization": _fields(["text"], ["summary_text"]),
}

_POSITIONS: Final = "its answer has positions in the text, and a translation has others"
KEPT: Final[Mapping[str, str]] = {
    "completion": "it may be asked in the model's own tokens; `generation` is translated",
    "dependencies": "its answer is about the text's own words",
    "echo": "it reads nothing",
    "entities": _POSITIONS,
    "kw-kp-extraction": "its answer is words of the text",
    "langdetection": "it is about the text's own language",
    "question": _POSITIONS,
    "sentence-dependencies": "its answer is about the text's own words",
    "tokens": _POSITIONS,
    "translation": "its input says what is to be translated",
}

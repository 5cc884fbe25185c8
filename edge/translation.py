"""A request for a model that does not read the caller's language: a translator stands between."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from edge.errors import InvalidInput, RefusedByModel, WorkerFailed
from edge.input import invalid
from edge.workers import Left, Workers, require_shape
from events.inference import Answered, Ask
from events.tasks import Task, translation
from events.tasks.translated import TRANSLATED, Translated
from events.tasks.translation import TranslationInput
from events.usage import Quantities

GROWTH: Final = 4  # times its text's length, and SLACK, are the most that a translation has:
SLACK: Final = 64  # prose becomes four times as long from Chinese, and a word of it seven times
AT_ONCE: Final = 16  # texts of one request that are being translated
TEXTS: Final = 64  # of one request, and their characters: the model may refuse the request
CHARACTERS: Final = 100_000  # after it, and then nobody pays for them


class Translator(Struct, frozen=True):
    """Who translates, and between which languages."""

    model: str
    theirs: str  # the caller's
    ours: str  # the model's


def most_translated(task: Task, value: Any) -> Quantities:  # noqa: ANN401 - the task's input
    """The most that an input can be billed by, before anybody has translated it.

    The model reads a translation, whose length nobody knows yet.
    """
    most = task.most(value)
    brought = TRANSLATED[task.name].brings(value)
    slack = SLACK * len(brought)
    return replace(
        most,
        input_tokens=GROWTH * most.input_tokens + slack,
        # a language that writes no spaces seems to have few words
        input_words=max(GROWTH * most.input_words, most.input_characters) + slack,
        input_characters=GROWTH * most.input_characters + slack,
        translated_characters=sum(map(len, brought)) + most.output_characters,
    )


async def ask_translated(
    workers: Workers,
    translator: Translator,
    ask: Ask,
    task: Task,
    value: Any,  # noqa: ANN401 - the task's input
    *,
    model: str,
    left: Left | None = None,
) -> tuple[Answered, Any, float]:
    """Ask a model in its language, and answer in the caller's; raises as `Workers.ask`.

    All is asked with the request's own id, priority and deadline. `left` is told of what the
    model used, with what was translated until then; of nothing before the model is asked.

    Returns:
        The answer, with what was translated among its quantities; its result as the task's
        type; and the milliseconds that translating took, both ways.

    Raises:
        InvalidInput: it is too much to translate, or cannot be said in the model's language.
        RefusedByModel: by the translator, or by the model.
        WorkerFailed: the answer could not be translated back.
    """
    step = _Step(workers, translator, ask)

    def with_translated(used: Quantities) -> Quantities:
        return replace(used, translated_characters=step.characters)

    def leave(used: Quantities) -> None:
        if left is not None:
            left(with_translated(used))

    passes = TRANSLATED[task.name]
    try:
        brought = await step.translate(_bounded(passes.brings(value)))
    except RefusedByModel as error:
        message = f"the translator {translator.model!r} refuses: {error.message}"
        raise RefusedByModel(message, status=error.status, code=error.code, param=None) from error
    asked = _asked(task, passes, value, brought)
    wanted = replace(ask, input=task.encode(asked))
    answered = await workers.ask(model, task.name, wanted, left=leave if left else None)
    result = require_shape(task.decode_result, answered.result, model, task.name, "an answer")
    try:
        said = await step.translate(passes.says(result), back=True)
    except asyncio.CancelledError:
        leave(answered.quantities)
        raise
    except RefusedByModel as error:
        message = f"the answer cannot be translated into {translator.theirs!r}: {error.message}"
        raise WorkerFailed(message) from error
    given = passes.gives(value, asked, result, said)
    quantities = with_translated(answered.quantities)
    translated = replace(answered, result=task.encode(given), quantities=quantities)
    return translated, given, step.took_ms


class _Step:
    """One request's translations."""

    def __init__(self, workers: Workers, translator: Translator, ask: Ask) -> None:
        self._workers = workers
        self._translator = translator
        self._ask = ask
        self._room = asyncio.Semaphore(AT_ONCE)
        self.characters = 0  # that the translator read
        self.took_ms = 0.0

    async def translate(self, texts: Sequence[str], *, back: bool = False) -> Sequence[str]:
        """The texts in the model's language, or back in the caller's; raises as `Workers.ask`."""
        languages = (self._translator.theirs, self._translator.ours)
        source, target = reversed(languages) if back else languages
        began = time.perf_counter()
        try:
            async with asyncio.TaskGroup() as group:
                asked = [group.create_task(self._text(text, source, target)) for text in texts]
        except ExceptionGroup as errors:  # the first one is the reason, the others were stopped
            raise errors.exceptions[0] from None
        self.took_ms += 1_000 * (time.perf_counter() - began)
        return [one.result() for one in asked]

    async def _text(self, text: str, source: str, target: str) -> str:
        """One text in another language; the space around it is nobody's language."""
        bare = text.strip()
        if not bare:
            return text
        before, after = text[: text.index(bare)], text[text.index(bare) + len(bare) :]
        wanted = TranslationInput(text=bare, source=source, target=target)
        task, model = translation.TASK, self._translator.model
        async with self._room:
            ask = replace(self._ask, input=task.encode(wanted))
            answered = await self._workers.ask(model, task.name, ask)
        result = require_shape(
            task.decode_result, answered.result, model, task.name, "a translation"
        )
        self.characters += len(bare)
        said: str = result.translation_text
        return before + said.strip() + after


def _bounded(texts: Sequence[str]) -> Sequence[str]:
    """The texts, if they are few and short enough to be translated for one request.

    Raises:
        InvalidInput: they are not.
    """
    if len(texts) > TEXTS or sum(map(len, texts)) > CHARACTERS:
        raise InvalidInput(
            f"at most {TEXTS} texts and {CHARACTERS:,} characters of a request are translated; "
            "send less, or ask in the model's own language"
        )
    return texts


def _asked(
    task: Task,
    passes: Translated,
    value: Any,  # noqa: ANN401 - the task's input
    brought: Sequence[str],
) -> Any:  # noqa: ANN401 - the same
    """The input in the model's language, if it is one, and within what was reserved.

    Raises:
        InvalidInput: it is not.
    """
    try:
        asked = passes.asks(value, brought)
        task.decode_input(task.encode(asked))  # as the worker will
    except msgspec.ValidationError as error:
        told = invalid(error)
        raise InvalidInput(f"once translated, {told.message}", param=told.param) from error
    except ValueError as error:
        told = invalid(msgspec.ValidationError(str(error)))
        raise told from error
    most, reserved = task.most(asked), most_translated(task, value)
    if any(
        getattr(most, unit) > getattr(reserved, unit)
        for unit in ("input_tokens", "input_words", "input_characters")
    ):
        raise InvalidInput(
            f"the translation is more than {GROWTH} times as long as the text, and {SLACK} "
            "characters; ask in the model's own language"
        )
    return asked

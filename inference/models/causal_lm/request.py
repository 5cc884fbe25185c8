"""What a request asks of the model, its defaults filled in and its limits checked."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from msgspec import Struct
from torch import Tensor

from events.tasks.generation import GenerationInput, GenerationResult
from events.tasks.task import TaskResult, read_texts
from events.usage import Quantities
from inference.errors import InputRefused
from inference.models.causal_lm.sampler import Choice, Sampler
from inference.models.causal_lm.vocabulary import Vocabulary

TEMPERATURE, TOP_K = 0.8, 50  # as the task says


class Chooser(Protocol):
    """What chooses the tokens of one request."""

    def choose(
        self, scores: Tensor, before: Sequence[int], allowed: Callable[[int], bool]
    ) -> int | None:
        """Choose a token; None if the text ends here.

        Args:
            scores: One for each token, of any dtype; changed.
            before: The tokens of the text so far, input included.
            allowed: Asked of the one that is chosen; if not, another is.
        """


class Finished(Struct, frozen=True):
    """What was written."""

    text: str
    tokens: int
    chooser: Chooser


class Request(Struct, frozen=True, kw_only=True):
    """An input that the model can do."""

    tokens: Sequence[int]  # that the model reads
    new_tokens: int  # that may be generated
    read: Quantities  # what reading is billed by
    chooser: Callable[[], Chooser]  # a new one
    result: Callable[[Finished], TaskResult]
    end: str | None = None  # what ends the text, besides the model
    keep_end: bool = True
    bad_words: Sequence[str] = ()  # what may not come about
    strip: bool = False  # leave out the space in front of the text


def read_request(
    value: GenerationInput, tokens: Sequence[int], *, context: int, vocabulary: Vocabulary
) -> Request:
    """Check an input of `generation` against what the model can do.

    Args:
        value: As the caller sent it.
        tokens: Of its text.
        context: Tokens that the model can look at, input and output together.
        vocabulary: The model's.

    Raises:
        InputRefused: it asks for what cannot be done.
    """
    if not tokens:
        raise InputRefused(
            "input_unreadable", "This model knows none of the text's characters.", param="text"
        )
    for name in ("num_beams", "num_return_sequences"):
        if (getattr(value, name) or 1) > 1:
            raise InputRefused(
                f"{name}_unsupported",
                f"This model generates one text at a time; leave {name} out, or set it to 1.",
                param=name,
            )
    bad_words = value.bad_words or ()
    choice = Choice(
        temperature=_or(value.temperature, TEMPERATURE),
        top_k=int(_or(value.top_k, TOP_K)),
        top_p=_or(value.top_p, 1.0),
        repetition_penalty=_or(value.repetition_penalty, 1.0),
        seed=value.seed,
    )
    return Request(
        tokens=tokens,
        new_tokens=_new_tokens(value, len(tokens), context=context),
        read=read_texts([value.text], input_tokens=len(tokens)),
        chooser=partial(Sampler, choice, frozenset().union(*map(vocabulary.containing, bad_words))),
        result=partial(_result, value, len(tokens)),
        end=value.end_sequence,
        keep_end=not value.remove_end_sequence,
        bad_words=bad_words,
    )


def _result(value: GenerationInput, read: int, finished: Finished) -> GenerationResult:
    return GenerationResult(
        generated_text=("" if value.remove_input else value.text) + finished.text,
        nb_generated_tokens=finished.tokens,
        nb_input_tokens=read,
    )


def _or(value: float | None, default: float) -> float:
    return default if value is None else value


def _new_tokens(value: GenerationInput, read: int, *, context: int) -> int:
    new = value.new_tokens
    if value.length_no_input is False:
        new -= read
        if new < 1:
            raise InputRefused(
                "input_too_long",
                f"The text alone has {read} tokens, and max_length, which includes them here, "
                f"is {value.new_tokens}; raise it above {read}, or set length_no_input.",
                param="max_length",
            )
    if read >= context:
        raise InputRefused(
            "input_too_long",
            f"The text has {read} tokens, and this model can look at {context} in all; shorten it.",
            param="text",
        )
    if read + new > context:
        raise InputRefused(
            "input_too_long",
            f"The text's {read} tokens and {new} new ones are more than the {context} that this "
            f"model can look at; shorten the text, or ask for at most {context - read} new ones.",
            param="max_length",
        )
    return new

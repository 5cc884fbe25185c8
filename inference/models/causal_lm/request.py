"""What a request asks of the model, its defaults filled in and its limits checked."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal, Protocol

from msgspec import UNSET, Struct
from torch import Tensor

from events.tasks.generation import BETWEEN, GenerationInput, GenerationResult
from events.tasks.task import TaskResult, read_texts
from events.usage import Quantities
from inference.errors import InputRefused
from inference.models.causal_lm.sampler import Choice, Sampler, spread
from inference.models.causal_lm.vocabulary import Vocabulary

TEMPERATURE, TOP_K = 0.8, 50  # as the task says


class Chooser(Protocol):
    """What chooses the tokens of one text."""

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
    """What was written of one text."""

    text: str
    tokens: int
    chooser: Chooser
    reason: Literal["stop", "length"]


class Request(Struct, frozen=True, kw_only=True):
    """An input that the model can do."""

    tokens: Sequence[int]  # that the model reads
    new_tokens: int  # that may be generated
    read: Quantities  # what reading is billed by
    choosers: Sequence[Callable[[], Chooser]]  # a new one for each text that is wanted
    result: Callable[[Sequence[Finished]], TaskResult]  # of these texts, in this order
    numbered_from: int | None = None  # the first text, where a stream has to tell texts apart
    ends: Sequence[str] = ()  # what ends a text, besides the model
    keep_end: bool = True
    bad_words: Sequence[str] = ()  # what may not come about
    strip: bool = False  # leave out the space in front of the text


def read_request(
    value: GenerationInput,
    tokens: Sequence[int],
    *,
    context: int,
    slots: int,
    vocabulary: Vocabulary,
) -> Request:
    """Check an input of `generation` against what the model can do.

    Args:
        value: As the caller sent it.
        tokens: Of its text.
        context: Tokens that the model can look at, input and output together.
        slots: Texts that it writes side by side.
        vocabulary: The model's.

    Raises:
        InputRefused: it asks for what cannot be done.
    """
    if not tokens:
        raise InputRefused(
            "input_unreadable", "This model knows none of the text's characters.", param="text"
        )
    if (value.num_beams or 1) > 1:
        raise InputRefused(
            "num_beams_unsupported",
            "This model searches no beams; leave num_beams out, or set it to 1.",
            param="num_beams",
        )
    if value.sequences > slots:
        raise InputRefused(
            "num_return_sequences_unsupported",
            f"This model writes {slots} texts side by side; ask for so many at most.",
            param="num_return_sequences",
        )
    bad_words = value.bad_words or ()
    never = frozenset[int]().union(*map(vocabulary.containing, bad_words))
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
        choosers=[partial(Sampler, one, never) for one in spread(choice, value.sequences)],
        result=partial(_result, value, len(tokens)),
        numbered_from=0 if value.sequences > 1 else None,
        ends=[value.end_sequence] if value.end_sequence else (),
        keep_end=not value.remove_end_sequence,
        bad_words=bad_words,
    )


def _result(value: GenerationInput, read: int, finished: Sequence[Finished]) -> GenerationResult:
    texts = [("" if value.remove_input else value.text) + one.text for one in finished]
    return GenerationResult(
        generated_text=BETWEEN.join(texts),
        nb_generated_tokens=sum(one.tokens for one in finished),
        nb_input_tokens=read,
        generated_texts=texts if len(texts) > 1 else UNSET,
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

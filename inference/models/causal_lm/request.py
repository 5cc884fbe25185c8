"""What a request asks of the model, its defaults filled in and its limits checked."""

from collections.abc import Sequence

from msgspec import Struct

from events.tasks.generation import GenerationInput
from inference.errors import InputRefused
from inference.models.causal_lm.sampler import Choice
from inference.models.causal_lm.vocabulary import Vocabulary

TEMPERATURE, TOP_K = 0.8, 50  # as the task says


class Request(Struct, frozen=True):
    """An input that the model can do."""

    value: GenerationInput
    tokens: Sequence[int]  # of the text, with those that frame it
    new_tokens: int  # that may be generated
    choice: Choice
    never: frozenset[int]  # tokens that contain a bad word by themselves

    @property
    def bad_words(self) -> Sequence[str]:
        """What may not come about."""
        return self.value.bad_words or ()


def read_request(
    value: GenerationInput, tokens: Sequence[int], *, context: int, vocabulary: Vocabulary
) -> Request:
    """Check an input against what the model can do.

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
    return Request(
        value,
        tokens,
        _new_tokens(value, len(tokens), context=context),
        Choice(
            temperature=_or(value.temperature, TEMPERATURE),
            top_k=int(_or(value.top_k, TOP_K)),
            top_p=_or(value.top_p, 1.0),
            repetition_penalty=_or(value.repetition_penalty, 1.0),
            seed=value.seed,
        ),
        frozenset().union(*map(vocabulary.containing, value.bad_words or ())),
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

"""What a prompt costs that is sent as tokens."""

import pytest
from tokenizers import Tokenizer, models

from events.tasks import completion, embeddings
from events.tasks.completion import CompletionInput
from events.tasks.embeddings import EmbeddingsInput
from events.tasks.task import TOKEN_CHARACTERS
from events.usage import Quantities

pytest.importorskip("torch")
from inference.models.causal_lm.writing import completion_requests
from inference.models.sentence_transformers.skills import Embedding

VOCABULARY = {"x" * 100: 0, "two words": 1, "y": 2}


@pytest.mark.parametrize(
    ("tokens", "words", "characters"),
    [([0], 1, TOKEN_CHARACTERS), ([1], 1, len("two words")), ([2], 1, 1), ([2, 2], 2, len("y y"))],
)
def test_a_prompt_of_tokens_is_billed_no_more_than_was_held(
    tokens: list[int], words: int, characters: int
) -> None:
    value = CompletionInput(prompts=[tokens])
    tokenizer = Tokenizer(models.WordLevel(VOCABULARY, unk_token="y"))
    (request,) = completion_requests(value, tokenizer, context=64, slots=1)

    read, held = request.read, completion.TASK.most(value)
    assert (read.input_words, read.input_characters) == (words, characters)
    assert _covers(held, read)


def test_so_is_a_text_to_embed() -> None:
    value = EmbeddingsInput(sentences=[[0, 1], "two words", [2]])
    tokenizer = Tokenizer(models.WordLevel(VOCABULARY, unk_token="y"))

    read = Embedding(tokenizer, width=1).quantities(value, [4, 4, 3])
    assert _covers(embeddings.TASK.most(value), read)
    assert read.input_words == 5


def _covers(held: Quantities, read: Quantities) -> bool:
    units = ("input_tokens", "input_words", "input_characters")
    return all(getattr(read, unit) <= getattr(held, unit) for unit in units)

"""Text from causal language models: SmolLM2 for sense, a tiny random one for the rest."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from msgspec.structs import replace
from tokenizers import Tokenizer
from transformers import LlamaForCausalLM

from events.tasks import generation
from events.tasks.generation import BETWEEN, GenerationInput
from inference.errors import InputRefused, ModelUnfit
from inference.models import load
from inference.models.causal_lm.attention import NAME
from inference.models.causal_lm.generator import READ, REST, CausalLM
from inference.models.causal_lm.request import read_request
from inference.models.causal_lm.sampler import Choice, spread
from inference.models.causal_lm.vocabulary import Vocabulary
from inference.models.model import Advance, Generator, Prepared
from tests.inference.tiny import declare, make, write

CHAT = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"


def refusal(model: Generator, value: GenerationInput) -> InputRefused:
    (refused,) = model.tokenize("generation", [value])
    assert isinstance(refused, InputRefused)
    return refused


def test_a_sensible_text_goes_on_sensibly(smol: Generator) -> None:
    prompt = "The capital of France is"

    (text,) = write(smol, GenerationInput(text=prompt, temperature=0, max_length=8))

    assert "Paris" in text.text
    assert text.result.generated_text == prompt + text.text
    assert (text.result.nb_input_tokens, text.result.nb_generated_tokens) == (5, 8)
    assert text.last is not None
    assert text.last.reason == "length"


def test_a_model_that_has_said_all_stops(smol: Generator) -> None:
    question = CHAT.format("What is the capital of Italy?")

    (text,) = write(smol, GenerationInput(text=question, temperature=0, remove_input=True))

    assert text.result.generated_text == text.text == "The capital of Italy is Rome."
    assert text.last is not None
    assert text.last.reason == "stop"
    assert text.quantities.output_tokens == 8  # the one that says so, too
    assert text.quantities.output_words == 6
    assert text.quantities.output_characters == 29
    assert text.quantities.input_words == 8
    assert text.quantities.input_characters == len(question)


def test_emoji_are_not_split(smol: Generator) -> None:
    value = GenerationInput(text="Write emojis: 😀😃😄😁😆🥰😍🤩😘", seed=4, max_length=20)

    (text,) = write(smol, value)

    assert "\N{REPLACEMENT CHARACTER}" not in text.text
    assert any(ord(character) > 0xFFFF for character in text.text)
    assert len(text.pieces) < text.quantities.output_tokens


@pytest.mark.parametrize("kept", [True, False])
def test_a_text_ends_with_the_end_sequence_wherever_tokens_begin(
    smol: Generator,
    kept: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    value = GenerationInput(
        text="The capital of France is",
        temperature=0,
        end_sequence="ris.\n\nTh",
        remove_end_sequence=not kept,
        remove_input=True,
    )

    (text,) = write(smol, value)

    assert text.text == text.result.generated_text == (" Paris.\n\nTh" if kept else " Pa")
    assert text.quantities.output_characters == len(text.text)
    assert text.quantities.output_tokens == 5
    assert text.last is not None
    assert text.last.reason == "stop"


def test_company_changes_no_text(smol: Generator) -> None:
    values = [
        GenerationInput(text="The capital of France is", temperature=0, max_length=10),
        GenerationInput(text="Water boils at a temperature of", seed=3, max_length=6),
        GenerationInput(text="Once upon a time there was a dog who", temperature=0, max_length=9),
        GenerationInput(text="My favourite food", seed=5, top_p=0.9, max_length=8),
    ]

    alone = [write(smol, value)[0] for value in values]
    together = write(smol, *values, joining_at=[0, 0, 2, 5])

    assert [one.pieces for one in together] == [one.pieces for one in alone]


def test_company_changes_no_score(tiny: Generator) -> None:
    """Not by a bit: else a text would change where two tokens are almost as likely."""
    long = " ".join(["on and on"] * 300)  # is read in pieces
    values = [
        GenerationInput(text=text, seed=seed, top_k=0, temperature=3.0, max_length=40)
        for seed, text in enumerate(["short", long, "a few words", long + " at once"])
    ]

    alone = [write(tiny, value)[0] for value in values]
    together = write(tiny, *values, joining_at=[0, 1, 1, 3])

    assert [one.pieces for one in together] == [one.pieces for one in alone]
    assert [one.quantities for one in together] == [one.quantities for one in alone]


def test_a_seed_tells_the_same_and_another_something_else(tiny: Generator) -> None:
    values = [GenerationInput(text="Tell me", seed=seed, max_length=12) for seed in (1, 1, 2)]
    values.append(GenerationInput(text="Tell me", max_length=12))

    same, again, other, random = (one.text for one in write(tiny, *values))

    assert same == again
    assert len({same, other, random}) == 3


def test_several_texts_go_on_from_one_as_each_would_alone(tiny: CausalLM) -> None:
    """The input is read once for all of them, and paid for once."""
    value = GenerationInput(
        text="one " * (READ + REST + 10),  # is read in pieces
        seed=5,
        top_k=0,
        temperature=3.0,
        max_length=40,
        end_sequence="e",  # ends each at another time
        remove_input=True,
    )
    choice = Choice(temperature=0, top_k=0, top_p=1, repetition_penalty=1, seed=value.seed)
    seeds = [one.seed for one in spread(choice, 3)]
    alone = [write(tiny, replace(value, seed=seed))[0] for seed in seeds]

    company = GenerationInput(text="on", seed=1, max_length=30)
    several, _ = write(tiny, replace(value, num_return_sequences=3), company)

    assert seeds[0] == value.seed
    assert several.result.generated_texts == [one.text for one in alone]
    assert several.result.generated_text == BETWEEN.join(one.text for one in alone)
    assert several.result.nb_generated_tokens == sum(
        one.result.nb_generated_tokens for one in alone
    )
    for number, one in enumerate(alone):
        said = [piece for piece in several.said if piece.index == number]
        assert "".join(piece.text for piece in said) == one.text
        assert one.last is not None
        assert [piece.reason for piece in said if piece.reason] == [one.last.reason]
    total = several.quantities
    assert total.output_tokens == sum(one.quantities.output_tokens for one in alone)
    assert total.output_characters == sum(one.quantities.output_characters for one in alone)
    assert total.input_tokens == alone[0].quantities.input_tokens
    assert len({len(one.text) for one in alone}) == 3


def test_several_texts_are_of_several_minds(smol: Generator) -> None:
    value = GenerationInput(
        text="My favourite animal is the",
        seed=1,
        temperature=1.5,
        max_length=12,
        num_return_sequences=6,
    )

    (several,) = write(smol, value)

    assert isinstance(several.result.generated_texts, list)
    assert len(set(several.result.generated_texts)) == 6
    assert all(text.startswith(value.text) for text in several.result.generated_texts)


def test_a_text_that_has_ended_leaves_its_slot_to_others(tiny: CausalLM) -> None:
    (prepared,) = tiny.tokenize(
        "generation",
        [
            GenerationInput(
                text="on",
                seed=2,
                top_k=0,
                temperature=3.0,
                end_sequence="e",
                num_return_sequences=4,
            )
        ],
    )
    assert isinstance(prepared, Prepared)
    assert prepared.rows == 4
    draft = tiny.join(prepared)
    rows = [4]
    while rows[-1]:
        (advance,) = tiny.step([draft])
        assert isinstance(advance, Advance)
        rows.append(advance.rows)

    assert rows == sorted(rows, reverse=True)
    assert len(set(rows)) > 2
    del draft, advance
    shelves = tiny._shelves  # noqa: SLF001 - nobody else sees what is kept
    shelves.tidy()
    assert not shelves._by_width  # noqa: SLF001 - likewise


@pytest.mark.parametrize("words", [1, 5, READ + 100, READ + REST + 1])
def test_it_writes_what_transformers_own_loop_writes(tiny_folder: Path, words: int) -> None:
    text = " ".join(["one"] * words)
    reference: Any = LlamaForCausalLM.from_pretrained(tiny_folder, dtype=torch.float32)
    own = LlamaForCausalLM.from_pretrained(
        tiny_folder, dtype=torch.float32, attn_implementation=NAME
    )
    tokenizer = Tokenizer.from_file(str(tiny_folder / "tokenizer.json"))
    model = CausalLM(own, tokenizer, slots=3, context=2_048, ends=frozenset({2}))
    ids = torch.tensor([tokenizer.encode(text).ids])

    (written,) = write(model, GenerationInput(text=text, temperature=0, max_length=12))
    expected = reference.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=12,
        do_sample=False,
        pad_token_id=2,
    )

    assert written.result.generated_text == text + tokenizer.decode(
        expected[0, ids.shape[1] :].tolist()
    )


def test_no_bad_word_comes_about(smol: Generator) -> None:
    value = GenerationInput(
        text="The capital of France is",
        temperature=0,
        max_length=12,
        bad_words=["Paris", "answer is", "\n\nT"],
    )

    (text,) = write(smol, value)

    assert not any(word in text.text for word in value.bad_words or ())
    assert text.quantities.output_tokens == 12


def test_numbers_never_exceed_what_was_held_for_them(tiny: Generator) -> None:
    values = [
        GenerationInput(
            text="Noise 🙂",
            seed=seed,
            temperature=5.0,
            top_k=0,
            max_length=60,
            num_return_sequences=sequences,
        )
        for seed, sequences in enumerate([1, 1, 2])
    ]

    for value, text in zip(values, write(tiny, *values), strict=True):
        held, used = generation.most(value), text.quantities
        assert used.output_tokens == held.output_tokens == 60 * value.sequences
        assert used.input_tokens <= held.input_tokens
        assert used.output_words <= held.output_words
        assert used.output_characters == len(text.text) <= held.output_characters


def test_the_length_can_include_the_input(tiny: Generator) -> None:
    value = GenerationInput(
        text="one two three", seed=1, temperature=5.0, max_length=10, length_no_input=False
    )

    (text,) = write(tiny, value)

    assert text.result.nb_input_tokens == 3
    assert text.result.nb_generated_tokens == 7


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"num_beams": 2}, "num_beams_unsupported", "num_beams"),
        ({"num_return_sequences": 5}, "num_return_sequences_unsupported", "num_return_sequences"),
        ({"text": "on " * 3_000}, "input_too_long", "text"),
        ({"max_length": 2_047}, "input_too_long", "max_length"),
        ({"max_length": 2, "length_no_input": False}, "input_too_long", "max_length"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(
    tiny: Generator, fields: dict[str, Any], code: str, param: str
) -> None:
    refused = refusal(tiny, GenerationInput(**{"text": "one two", **fields}))

    assert (refused.code, refused.param, refused.status) == (code, param, 422)


def test_a_text_without_any_token_is_refused(tiny_folder: Path) -> None:
    with pytest.raises(InputRefused, match="none of the text's characters"):
        read_request(
            GenerationInput(text="?"),
            [],
            context=10,
            slots=1,
            vocabulary=Vocabulary(Tokenizer.from_file(str(tiny_folder / "tokenizer.json")), 10),
        )


def test_what_asks_for_the_usual_in_so_many_words_is_not_refused(tiny: Generator) -> None:
    value = GenerationInput(text="one", num_beams=1, num_return_sequences=1, max_length=2_047)

    (prepared,) = tiny.tokenize("generation", [value])

    assert isinstance(prepared, Prepared)


def test_a_folder_without_all_weights_is_refused(tiny_folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_folder, tmp_path / "three-layers")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))

    with pytest.raises(ModelUnfit, match=r"weights are missing: .*layers\.2"):
        load(declare(folder))


def test_a_model_that_attends_in_a_way_of_its_own_is_refused(
    tiny_folder: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny_folder, tmp_path / "sliding")
    config = json.loads((folder / "config.json").read_text())
    sliding = config | {"model_type": "mistral", "architectures": ["MistralForCausalLM"]}
    (folder / "config.json").write_text(json.dumps(sliding | {"sliding_window": 64}))

    with pytest.raises(ModelUnfit, match="sliding window"):
        load(declare(folder))


def test_a_model_whose_texts_would_depend_on_each_other_is_refused(
    tiny_folder: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(tiny_folder, tmp_path / "dynamic")
    config = json.loads((folder / "config.json").read_text())
    rope = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10_000.0}
    (folder / "config.json").write_text(json.dumps(config | {"rope_parameters": rope}))

    with pytest.raises(ModelUnfit, match="depend on the one beside it"):
        load(declare(folder))


def test_a_tokenizer_with_tokens_that_the_model_has_not_is_refused(tmp_path: Path) -> None:
    make(tmp_path, vocabulary=49_151)

    with pytest.raises(ModelUnfit, match="a token 49,151, and it knows 49,151"):
        load(declare(tmp_path))


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_folder_without_one_of_its_files_is_refused(
    tiny_folder: Path, tmp_path: Path, missing: str
) -> None:
    folder = shutil.copytree(tiny_folder, tmp_path / "incomplete")
    (folder / missing).unlink()

    with pytest.raises(ModelUnfit, match="cannot be read"):
        load(declare(folder))

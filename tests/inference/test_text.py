"""Tokens into text: what may be given out, and when."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from inference.models import FOLDERS
from inference.models.causal_lm.decoder import Decoder
from inference.models.causal_lm.text import WrittenText
from inference.models.causal_lm.vocabulary import CUT, Vocabulary

pieces = st.lists(st.text("ab \n🙂", max_size=4), max_size=12)
ends = st.text("ab 🙂", min_size=1, max_size=4)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters=[CUT]), max_size=40)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_file(str(FOLDERS / "SmolLM2-135M-Instruct" / "tokenizer.json"))


def test_a_possible_end_is_held_back_until_it_is_one_or_not() -> None:
    text = WrittenText("stop", keep_end=False)

    assert text.write("one st") == "one "
    assert text.write("ep, then sto") == "step, then "
    assert text.write("p and more") == ""
    assert text.ended
    assert text.given == "one step, then "
    assert text.words == 3


def test_an_end_that_is_kept_is_given_and_nothing_behind_it() -> None:
    text = WrittenText("stop", keep_end=True)

    assert text.write("one st") == "one st"
    assert text.write("op and more") == "op"
    assert text.ended


@given(pieces=pieces, end=ends, keep_end=st.booleans())
def test_the_text_ends_where_the_sequence_does_however_it_comes(
    *, pieces: list[str], end: str, keep_end: bool
) -> None:
    text = WrittenText(end, keep_end=keep_end)
    given = []
    for piece in pieces:
        given.append(text.write(piece))
        if text.ended:
            break
    else:
        given.append(text.write("", last=True))

    before, found, _ = "".join(pieces).partition(end)
    assert text.ended == bool(found)
    assert "".join(given) == text.given == before + (found if keep_end else "")
    assert text.words == len(text.given.split())


@given(pieces=pieces, ends=st.lists(ends, min_size=2, max_size=3))
def test_of_several_ends_the_one_that_is_whole_first_counts_however_it_comes(
    *, pieces: list[str], ends: list[str]
) -> None:
    whole, by_character = WrittenText(*ends, keep_end=False), WrittenText(*ends, keep_end=False)
    said = "".join(pieces)

    whole.write(said, last=True)
    for piece in said:
        if not by_character.ended:
            by_character.write(piece)
    if not by_character.ended:
        by_character.write("", last=True)

    assert whole.given == by_character.given
    assert whole.ended == any(end in said for end in ends)
    assert not any(end in whole.given for end in ends)


@given(texts)
def test_pieces_add_up_to_the_text_and_split_no_character(tokenizer: Tokenizer, text: str) -> None:
    tokens = tokenizer.encode(text).ids
    assume(tokenizer.decode(tokens) == text)  # it knows no byte that begins an unassigned plane
    decoder = Decoder(tokenizer, tokenizer.encode("Before it:").ids)

    given = [decoder.take(token) for token in tokens]
    given.append(decoder.rest())

    assert "".join(given) == text


def test_half_a_character_at_the_end_is_left_out(tokenizer: Tokenizer) -> None:
    *most, _ = tokenizer.encode("ok 🦤").ids
    decoder = Decoder(tokenizer, [])

    given = [decoder.take(token) for token in most]

    assert "".join(given).strip() == "ok"
    assert decoder.rest() in {"", " "}


def test_no_token_is_larger_than_a_hold_assumes(tokenizer: Tokenizer) -> None:
    vocabulary = Vocabulary(tokenizer, tokenizer.get_vocab_size())

    assert len(vocabulary.unfit) == 7  # long lines, and long indents
    assert all(len(tokenizer.decode([token])) > 64 for token in vocabulary.unfit)


def test_the_tokens_that_contain_a_word_are_found(tokenizer: Tokenizer) -> None:
    vocabulary = Vocabulary(tokenizer, tokenizer.get_vocab_size())

    found = {tokenizer.decode([token]) for token in vocabulary.containing("Paris")}

    assert {"Paris", " Paris"} <= found
    assert all("Paris" in text for text in found)
    assert vocabulary.containing("no such word") == set()

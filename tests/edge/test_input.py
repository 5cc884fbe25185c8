import pytest

from edge.errors import EdgeError, InvalidInput, MalformedJson, NulCharacter
from edge.input import MESSAGE_CHARACTERS, PARAM_CHARACTERS, decode_input
from events.tasks import classification, embeddings, entities


def test_an_input_is_decoded_into_its_type() -> None:
    value = decode_input(entities.TASK, b'{"text": "Ada", "searched_entity": null}')

    assert value == entities.EntitiesInput(text="Ada")


@pytest.mark.parametrize(
    ("body", "kind", "param"),
    [
        (b"", MalformedJson, None),
        (b"\0", MalformedJson, None),
        (b"{", MalformedJson, None),
        (b'{"text": "a"} x', MalformedJson, None),
        (b'{"text": "\xff"}', MalformedJson, None),
        (b'{"text": "\xed\xa0\x80"}', MalformedJson, None),
        (b'{"text": "\\ud800"}', MalformedJson, None),
        (b'{"text": "a\0b"}', MalformedJson, None),
        (b'{"text": "a\\u0000b"}', NulCharacter, None),
        (b"[]", InvalidInput, None),
        (b"null", InvalidInput, None),
        (b"{}", InvalidInput, "text"),
        (b'{"text": 3}', InvalidInput, "text"),
        (b'{"text": null}', InvalidInput, "text"),
        (b'{"text": ""}', InvalidInput, "text"),
        (b'{"text": " \\n "}', InvalidInput, "text"),
        (b'{"text": "a", "txet": 1}', InvalidInput, "txet"),
        (b'{"text": "' + b"a" * 100_001 + b'"}', InvalidInput, "text"),
        (b'{"text": ' + b"[" * 100_000, InvalidInput, "text"),
    ],
)
def test_bad_input_is_told_apart(body: bytes, kind: type[EdgeError], param: str | None) -> None:
    with pytest.raises(kind) as caught:
        decode_input(entities.TASK, body)

    assert type(caught.value) is kind
    assert caught.value.param == param


def test_a_backslash_and_u0000_are_six_characters_and_no_nul() -> None:
    decode_input(entities.TASK, rb'{"text": "a \\u0000 b"}')


@pytest.mark.parametrize(
    "body",
    [b'{"text": "a", "%b": 1}' % (b"x" * 100_000), b'{"%b": 1}' % (b"x" * 100_000)],
    ids=["beside what is known", "alone"],
)
def test_a_refusal_is_short_however_long_what_it_names(body: bytes) -> None:
    with pytest.raises(InvalidInput, match="unknown field `xx") as caught:
        decode_input(entities.TASK, body)

    assert len(caught.value.message) == MESSAGE_CHARACTERS
    assert caught.value.param == "x" * (PARAM_CHARACTERS - 1) + "…"


def test_a_blank_sentence_is_named_by_its_place() -> None:
    with pytest.raises(InvalidInput, match="blank") as caught:
        decode_input(embeddings.TASK, b'{"sentences": ["a", " "]}')

    assert caught.value.param == "sentences[1]"


def test_labels_that_repeat_are_refused_by_the_fields_name() -> None:
    with pytest.raises(InvalidInput, match="twice") as caught:
        decode_input(classification.TASK, b'{"text": "a", "labels": ["x", "X "]}')

    assert caught.value.param == "labels"

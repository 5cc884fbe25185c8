import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.subjects import name, token

text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


def test_a_models_name_is_one_token() -> None:
    assert token("SmolLM2-1.7B") == "SmolLM2-1%2E7B"
    assert token("custom_model/7") == "custom_model%2F7"


@given(text)
def test_any_name_becomes_one_safe_token_and_comes_back(model: str) -> None:
    encoded = token(model)

    assert not set(encoded) & set(".*> \t\r\n/\0")
    assert encoded.isascii()
    assert name(encoded) == model


def test_an_empty_name_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        token("")

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.auth import credentials, require_admin
from edge.errors import EdgeError, MalformedKey, MissingKey, NotAdmin

KEY = "tg_0123456789_abc"


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    "header",
    [
        f"Bearer {KEY}",
        f"bearer  {KEY} ",
        f"Token {KEY}",
        basic(f"{KEY}:"),
        basic(f"{KEY}:ignored"),
        basic(KEY),
    ],
)
def test_a_key_is_taken_in_every_form(header: str) -> None:
    assert credentials(header) == KEY


@pytest.mark.parametrize(
    ("header", "kind"),
    [
        (None, MissingKey),
        ("", MissingKey),
        ("   ", MissingKey),
        ("Bearer", MissingKey),
        ("Bearer ", MissingKey),
        (basic(":"), MissingKey),
        ("Digest abc", MalformedKey),
        (KEY, MalformedKey),
        ("Basic !!!", MalformedKey),
        ("Basic ü", MalformedKey),
        ("Basic " + base64.b64encode(b"\xff\xfe").decode(), MalformedKey),
    ],
)
def test_what_is_not_a_key_says_which_way(header: str | None, kind: type[EdgeError]) -> None:
    with pytest.raises(kind):
        credentials(header)


@given(st.text() | st.text().map("Basic {}".format))
def test_no_header_crashes_it(header: str) -> None:
    try:
        credentials(header)
    except EdgeError as error:
        assert error.status == 401  # noqa: PT017 - most texts are refused, a few are keys


def test_only_the_admin_token_opens_the_admin_routes() -> None:
    require_admin("Bearer the-right-one", "the-right-one")
    for header in (None, "Bearer the-wrong-one", "Bearer ünïcode", "Digest x"):
        with pytest.raises(NotAdmin):
            require_admin(header, "the-right-one")

import secrets

from hypothesis import given
from hypothesis import strategies as st

from ledger.key_format import checksum_ok, digest, mint, public_id

SECRET = b"a secret of the server's"
KEY = mint(SECRET)


def test_a_minted_key_is_recognised() -> None:
    minted = mint(SECRET)

    assert minted.plain.startswith("tg_")
    assert checksum_ok(minted.plain)
    assert public_id(minted.plain) == minted.public_id
    assert digest(minted.plain, SECRET) == minted.hash


def test_no_two_keys_are_alike() -> None:
    assert len({mint(SECRET).public_id for _ in range(1_000)}) == 1_000


def test_the_hash_depends_on_the_server() -> None:
    assert digest(KEY.plain, secrets.token_bytes(32)) != KEY.hash


@given(st.integers(0, len(KEY.plain) - 1), st.characters())
def test_a_changed_character_is_caught(position: int, character: str) -> None:
    changed = KEY.plain[:position] + character + KEY.plain[position + 1 :]

    assert checksum_ok(changed) == (changed == KEY.plain)


@given(st.integers(0, len(KEY.plain) - 2))
def test_two_characters_changing_places_are_caught(position: int) -> None:
    pair = KEY.plain[position : position + 2]
    changed = KEY.plain[:position] + pair[::-1] + KEY.plain[position + 2 :]

    assert checksum_ok(changed) == (changed == KEY.plain)


@given(st.text())
def test_no_text_crashes_it(text: str) -> None:
    assert not checksum_ok(text)
    assert not checksum_ok(KEY.plain + text) or not text

import os
import stat
from pathlib import Path

import pytest
from msgspec.structs import replace

from deploy.errors import BadSecrets, HomeInUse
from deploy.local.home import claimed, read_secrets, write_secrets
from events.receipts import read_signing_keys


def test_a_home_has_one_owner_at_a_time(tmp_path: Path) -> None:
    home = tmp_path / "home"

    with claimed(home), pytest.raises(HomeInUse, match=f"process {os.getpid()}"), claimed(home):
        pass

    with claimed(home) as again:
        assert again == home


def test_a_lock_file_that_was_left_behind_does_not_count(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("1\n")

    with claimed(tmp_path):
        assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"


def test_secrets_are_made_once_and_are_private(tmp_path: Path) -> None:
    first = read_secrets(tmp_path)

    assert read_secrets(tmp_path) == first
    assert stat.S_IMODE((tmp_path / "secrets.json").stat().st_mode) == 0o600
    assert first.key_secret not in repr(first)
    made = {first.key_secret, first.admin_token, first.stripe_webhook_secret, first.receipt_key}
    assert len(made) == 4


def test_a_home_from_before_there_were_receipts_gets_a_key_and_keeps_the_rest(
    tmp_path: Path,
) -> None:
    before = replace(read_secrets(tmp_path), receipt_key="")
    write_secrets(tmp_path, before)

    now = read_secrets(tmp_path)

    assert len(read_signing_keys(now.receipt_key)) == 1
    assert replace(now, receipt_key="") == before
    assert read_secrets(tmp_path) == now


def test_a_broken_secrets_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "secrets.json").write_text("{")

    with pytest.raises(BadSecrets, match=r"secrets\.json"):
        read_secrets(tmp_path)

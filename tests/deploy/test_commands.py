"""The commands that need no servers."""

import json
import os
import subprocess
import sys
from base64 import b64encode
from pathlib import Path
from uuid import uuid4

import pytest

from events.receipts import issue, read_signing_keys
from tests.events.test_receipts import FACTS

SECRET = b64encode(b"k" * 32).decode()
(KEY,) = read_signing_keys(SECRET)


def tollgate(*arguments: str, told: str = "") -> tuple[int, str, str]:
    """Run a command; its status, output and errors."""
    done = subprocess.run(
        [sys.executable, "-m", "deploy.cli", *arguments],
        input=told,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "TOLLGATE_HOME": "/nowhere", "TOLLGATE_RECEIPT_KEYS": SECRET},
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def keys(tmp_path: Path) -> str:
    status, output, _ = tollgate("receipts", "keys")
    assert status == 0
    (tmp_path / "keys.json").write_text(output)
    return str(tmp_path / "keys.json")


def test_a_receipt_is_verified_without_any_server(keys: str, tmp_path: Path) -> None:
    receipt = issue(FACTS, KEY, issuer="https://api.example.com", now=1_795_000_000)
    (tmp_path / "receipt.txt").write_text(receipt + "\n")

    status, table, _ = tollgate("receipts", "verify", str(tmp_path / "receipt.txt"), "--keys", keys)
    _, claims, _ = tollgate("receipts", "verify", "-", "--keys", keys, "--json", told=receipt)

    assert status == 0
    assert str(FACTS.request_id) in table
    assert "10, 0.000001 each" in table
    assert KEY.public.kid in table
    assert SECRET not in Path(keys).read_text()
    assert json.loads(claims)["iss"] == "https://api.example.com"
    assert json.loads(claims)["cost"] == FACTS.cost


def test_the_answer_around_a_receipt_must_say_the_same(keys: str) -> None:
    receipt = issue(FACTS, KEY, issuer="", now=0)
    _, claims, _ = tollgate("receipts", "verify", "-", "--keys", keys, "--json", told=receipt)
    answer = {**json.loads(claims), "receipt": receipt}
    forged = {**answer, "cost": "0.01"}

    whole = tollgate("receipts", "verify", "-", "--keys", keys, told=json.dumps(answer))
    status, output, errors = tollgate(
        "receipts", "verify", "-", "--keys", keys, told=json.dumps(forged)
    )

    assert whole[0] == 0
    assert (status, output) == (1, "")
    assert errors == "tollgate: the receipt is right, and says otherwise about: cost\n"


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ("", "not a signed text"),
        ("Dear customer, you owe us nothing.", "not a signed text"),
        ("{", "no receipt"),
        ('{"receipt": null}', "no receipt"),
        (issue(FACTS, KEY, issuer="", now=0)[:-4] + "AAAA", "the signature is wrong"),
        (
            issue(FACTS, read_signing_keys(b64encode(b"x" * 32).decode())[0], issuer="", now=0),
            "none of these keys signed it",
        ),
    ],
)
def test_what_is_not_right_is_said_in_one_line(keys: str, told: str, said: str) -> None:
    status, output, errors = tollgate("receipts", "verify", "-", "--keys", keys, told=told)

    assert (status, output) == (1, "")
    assert errors.startswith("tollgate: ")
    assert said in errors
    assert errors.count("\n") == 1


@pytest.mark.parametrize("where", ["/nowhere/keys.json", "http://127.0.0.1:1/keys", "http://["])
def test_keys_that_cannot_be_had_are_said_so(where: str) -> None:
    status, _, errors = tollgate("receipts", "verify", "-", "--keys", where)

    assert status == 1
    assert errors.startswith(f"tollgate: {where}: ")
    assert errors.count("\n") == 1


@pytest.mark.parametrize("days", ["nan", "inf", "-1", "1e9", "soon", ""])
@pytest.mark.parametrize("command", ["usage verify --kept-days", "keys create x --days"])
def test_days_that_no_time_has_are_misuse(command: str, days: str) -> None:
    status, _, errors = tollgate(*command.replace(" x ", f" {uuid4()} ").split(), days)

    assert status == 2
    assert errors.startswith("tollgate: ")

from pathlib import Path
from uuid import UUID

import msgspec
import pytest

from events.errors import BadModelsFile
from events.models import Limits, ModelAnnounced, ModelDeclared, decode, read_models

GOOD = """
[[model]]
name = "echo"
source = "echo:"
tasks = ["echo"]
"""
SPEAKER = """
[[model]]
name = "speaker"
source = "echo:"
tasks = ["translation"]
languages = ["fr", "es"]
"""


def test_models_are_read_in_the_files_order(tmp_path: Path) -> None:
    path = tmp_path / "models.toml"
    path.write_text(GOOD + GOOD.replace('"echo"\nsource', '"another"\nsource'))

    assert list(read_models(path)) == ["echo", "another"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (GOOD + GOOD, "declared twice"),
        (GOOD.replace("tasks", "taks"), "taks"),
        (GOOD.replace('["echo"]', "[]"), "tasks"),
        (GOOD.replace('name = "echo"', 'name = "admin"'), "taken by a route"),
        (GOOD.replace('name = "echo"', 'name = "a b"'), "name"),
        (GOOD + "limits.batch_tokens = 0", "batch_tokens"),
        (GOOD + "limits.batch_token = 5", "batch_token"),
        (GOOD + 'languages = ["French"]', "languages"),
        (GOOD + 'translator = "none"', "must say which `languages` it reads"),
        (GOOD + 'languages = ["en"]\ntranslator = "none"', "'none' is no model"),
        (GOOD + 'languages = ["en"]\ntranslator = "echo"', "'echo' is no model"),
        (SPEAKER + GOOD + 'languages = ["en"]\ntranslator = "speaker"', "does not speak 'en'"),
        ("[[model]", "line 1"),
        ("", "model"),
    ],
)
def test_a_bad_models_file_says_what_is_wrong(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "models.toml"
    path.write_text(text)

    with pytest.raises(BadModelsFile, match=reason) as caught:
        read_models(path)

    assert str(path) in str(caught.value)


def test_an_announcement_of_a_newer_worker_is_read_as_far_as_it_is_known() -> None:
    announced = ModelAnnounced(
        model=ModelDeclared(name="m", source="echo:", tasks=("echo",), limits=Limits(slots=3)),
        worker_id=UUID(int=1),
        until=1.0,
    )
    newer = msgspec.to_builtins(announced)
    newer["model"]["colour"] = "blue"
    newer["model"]["limits"]["colours"] = 3

    assert decode(msgspec.json.encode(newer)) == announced


def test_a_missing_models_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(BadModelsFile, match="No such file"):
        read_models(tmp_path / "none.toml")
